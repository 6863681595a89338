"""What a figure is before it has data, and what figures and tables hand over to be saved."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.figure import Figure

from snrkit.errors import SpecError
from snrkit.report.collect import Tables
from snrkit.report.style import Look

# Section -> heading, in the order of the story.
SECTIONS = {
    "training": "What was trained",
    "bound": "What the bound says",
    "gradients": "What the gradients say",
    "advice": "Advice",
}


@dataclass(frozen=True)
class Drawing:
    """A drawn figure.

    Attributes:
        figure: the figure.
        data: exactly the plotted numbers.
        caption: what is shown, where and with how many draws or runs.
        alt: what a reader who cannot see it would want to be told: the panels, and how each line runs.
        notes: what was left out and why, a line each.
    """

    figure: Figure
    data: pd.DataFrame
    caption: str
    alt: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A table, as texts by file ending, and as cells for the page.

    Attributes:
        texts: ``{"csv": ..., "md": ..., "tex": ...}``.
        caption: what is shown.
        head: column headings.
        rows: cells as text, the first of each row being its heading.
        bold: (row, column) of the cells set in bold.
        notes: definitions and provenance, a phrase each.
    """

    texts: dict[str, str]
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Missing:
    """A figure or table that has nothing to show.

    Attributes:
        reason: what is missing and which command makes it, in a line.
    """

    reason: str


@dataclass(frozen=True)
class FigureKind:
    """A figure of the report, before any data.

    Attributes:
        title: heading on the page.
        section: part of the story it belongs to, a key of ``SECTIONS``.
        needs: kinds of result files it is drawn from (see ``collect.KINDS``); a change in any of them redraws it.
        command: makes the data where they are missing, one line.
        definition: of the quantity shown.
        uncertainty: what bands, bars and ± stand for.
        draw: draws it from the tables in a look, or says what is missing.

    Raises:
        SpecError: no such section.
    """

    title: str
    section: str
    needs: tuple[str, ...]
    command: str
    definition: str
    uncertainty: str
    draw: Callable[[Tables, Look], Drawing | Missing]

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise SpecError(
                "section", f"no part of the story is '{self.section}'", f"choose from {', '.join(SECTIONS)}"
            )
