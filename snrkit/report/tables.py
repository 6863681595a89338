"""Tables of values with errors: rounding, and CSV, Markdown and LaTeX (booktabs) from one grid of cells."""

import csv as csv_files
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

from snrkit.report.drawing import Sheet
from snrkit.report.escape import csv, latex, latex_comment, markdown, markdown_line, visible

_NOTHING = "–"


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        name: in the CSV file.
        heading: in Markdown and on the page.
        latex: in LaTeX; empty: the heading.
        numbers: whether its cells are numbers, which stand to the right and have an error in a column of its own in CSV.
        printed: whether it is in Markdown, LaTeX and on the page.
        kept: whether it is in the CSV file.
    """

    name: str
    heading: str
    latex: str = ""
    numbers: bool = False
    printed: bool = True
    kept: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell: a text, or a rounded value with its rounded error.

    Attributes:
        text: the text or the value; empty: nothing there.
        error: of the value; empty if unknown.
        bold: whether it is the best of its column beyond its error.
    """

    text: str
    error: str = ""
    bold: bool = False

    @property
    def shown(self) -> str:
        """As on the page."""
        if not self.text:
            return _NOTHING
        return f"{self.text} ± {self.error}" if self.error else self.text


def rounded(value: float, error: float, by: float = math.nan) -> tuple[str, str]:
    """A value and its error, rounded by the error.

    The error keeps two significant digits where they begin with 1 or 2 and one otherwise; the value ends at the same
    decimal. Without a usable error the value has four significant digits and the error is empty.

    Args:
        value: the value.
        error: its own error.
        by: a smaller error that decides instead: that of the value's difference to another, where that is what is read.
    """
    if not math.isfinite(value):
        return "", ""
    if not math.isfinite(error) or error <= 0:
        return f"{value:.4g}", "0" if error == 0 else ""
    digits = decimals(by if 0 < by < error else error)
    return fixed(value, digits), fixed(error, digits)


def decimals(error: float) -> int:
    """Decimals that an error, which is positive, leaves a meaning."""
    leading = f"{error:.1e}"
    return (2 if leading[0] in "12" else 1) - 1 - int(leading.split("e")[1])


def fixed(value: float, digits: int) -> str:
    """A number with so many decimals; of fewer than none, whole tens or more."""
    return f"{round(value, digits):.{max(digits, 0)}f}"


def sheet(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], caption: str, notes: Sequence[str]) -> Sheet:
    """A grid of cells in all formats.

    Args:
        columns: one per cell of a row; the first that is printed names the row.
        rows: the cells.
        caption: of the table.
        notes: definitions and provenance, a phrase each.
    """
    written = _csv(*_where(columns, rows, [column.kept for column in columns]))
    columns, rows = _where(columns, rows, [column.printed for column in columns])
    texts = {"csv": written, "md": _markdown(columns, rows, notes), "tex": _latex(columns, rows, notes)}
    bold = frozenset((i, j) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell.bold)
    shown = tuple(
        tuple(
            cell.shown.replace("-", "−") if column.numbers else visible(cell.shown)
            for column, cell in zip(columns, row, strict=True)
        )
        for row in rows
    )
    head = tuple(visible(column.heading) for column in columns)
    return Sheet(texts, caption, head, shown, bold, tuple(map(visible, notes)))


def _where(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], chosen: Sequence[bool]
) -> tuple[list[Column], list[list[Cell]]]:
    """Some of the columns, with their cells."""
    return list(compress(columns, chosen)), [list(compress(row, chosen)) for row in rows]


def _csv(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> str:
    stream = io.StringIO()
    writer = csv_files.writer(stream, lineterminator="\n")
    writer.writerow([csv(n) for c in columns for n in ([c.name, f"{c.name}_error"] if c.numbers else [c.name])])
    for row in rows:
        pairs = zip(columns, row, strict=True)
        writer.writerow(
            [part for c, cell in pairs for part in ([cell.text, cell.error] if c.numbers else [csv(cell.text)])]
        )
    return stream.getvalue()


def _markdown(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], notes: Sequence[str]) -> str:
    lines = [
        [markdown(column.heading) for column in columns],
        ["---:" if column.numbers else "---" for column in columns],
        *([f"**{markdown(cell.shown)}**" if cell.bold else markdown(cell.shown) for cell in row] for row in rows),
    ]
    table = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*table, "", *(f"- {markdown_line(note)}" for note in notes)]) + "\n"


def _latex(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], notes: Sequence[str]) -> str:
    lines = [
        "% Needs \\usepackage{booktabs}.",
        *(f"% {latex_comment(note)}" for note in notes),
        rf"\begin{{tabular}}{{{''.join('r' if column.numbers else 'l' for column in columns)}}}",
        r"\toprule",
        " & ".join(column.latex or latex(column.heading) for column in columns) + r" \\",
        r"\midrule",
        *(" & ".join(_latex_cell(c, cell) for c, cell in zip(columns, row, strict=True)) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(column: Column, cell: Cell) -> str:
    if not cell.text or not column.numbers:
        return latex(cell.text) or "--"
    text = rf"{cell.text} \pm {cell.error}" if cell.error else cell.text
    return rf"$\mathbf{{{text}}}$" if cell.bold else f"${text}$"
