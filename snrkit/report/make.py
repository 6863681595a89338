"""A report as it is asked for: what changed is drawn, and nothing at all where nothing did."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snrkit.files import write_json
from snrkit.report import unchanged
from snrkit.report.figures import FIGURES


@dataclass(frozen=True)
class Made:
    """What a report came to.

    Attributes:
        files: all of it, the page last.
        notes: what is missing, and which command would make it.
        drawn: names of the figures that were drawn now.
    """

    files: list[Path]
    notes: list[str]
    drawn: list[str]


def make(
    paths: Sequence[Path], out: Path, *, column: str = "icml", figures: Sequence[str] = (), page: bool = False
) -> Made:
    """Figures and tables from what was trained and measured.

    Args:
        paths: run directories, folders that hold some, or result files.
        out: folder to write to.
        column: a look of ``style.COLUMNS``.
        figures: only these; none: all.
        page: also write one self-contained page, ``report.html``.

    Raises:
        SpecError: there is no such figure.
        ResultsError: there is nothing to show, or a file is damaged.
        OutputError: a file cannot be written.
    """
    for name in figures:
        FIGURES.require(name)
    line = ("snrkit", "report", *map(str, paths), "--out", str(out), "--column", column)
    line += tuple(word for name in figures for word in ("--figure", name))
    key = unchanged.key(paths, (*line, "--html") if page else line)
    known = unchanged.recall(out, key)
    if known:
        return Made(*known, [])
    # Plotting libraries are slow to import, and a report that is up to date does not need them.
    from snrkit.report.build import build
    from snrkit.report.page import write_page
    from snrkit.report.save import Destination
    from snrkit.report.style import COLUMNS

    notes: list[str] = []
    report = build(paths, Destination(out, line, COLUMNS[column]), notes.append, figures)
    files = [*report.files, write_page(report)] if page else report.files
    write_json(out / unchanged.FILE, unchanged.record(key, files, notes))
    return Made(files, notes, report.drawn)
