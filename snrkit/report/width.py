"""How wide figures are: a page by its name, or a length. Standard library only."""

import re

from snrkit.errors import SpecError
from snrkit.registry import hint

# Spelt out, since style.COLUMNS loads matplotlib; a test compares.
PAGES = ("icml", "neurips", "a4", "slide")
NARROWEST, WIDEST = 1.5, 20.0
# Inches. The point is TeX's, in which \the\columnwidth is printed.
_UNITS = {"in": 1.0, "cm": 1 / 2.54, "mm": 1 / 25.4, "pt": 1 / 72.27}
_LENGTH = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(in|cm|mm|pt)\s*")


def inches(column: str) -> float | None:
    r"""The width that a column names, or None where it is a page.

    Args:
        column: a page of ``PAGES``, or a length such as ``3.3in``, ``84mm`` or, as TeX prints ``\the\columnwidth``,
            ``234.8775pt``.

    Raises:
        SpecError: it is neither, or no figure can be so wide.
    """
    if column in PAGES:
        return None
    found = _LENGTH.fullmatch(column)
    if found is None:
        remedy = f"{hint(column, PAGES)}choose from {', '.join(PAGES)}, or give a width such as 3.3in, 84mm or 240pt"
        raise SpecError("column", f"no page is called '{column}'", remedy)
    width = float(found[1]) * _UNITS[found[2]]
    if not NARROWEST <= width <= WIDEST:
        problem = f"{column.strip()} is {width:.3g} inches wide"
        raise SpecError("column", problem, f"give at least {NARROWEST:g}in and at most {WIDEST:g}in")
    return width
