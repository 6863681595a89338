"""A report as it is asked for: what changed is drawn, and nothing at all where nothing did."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit.files import write_json
from snrkit.report import unchanged
from snrkit.report.chosen import Chosen
from snrkit.report.figures import FIGURES
from snrkit.report.width import inches

if TYPE_CHECKING:  # it loads numpy
    from snrkit.types import Progress


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
    paths: Sequence[Path],
    out: Path,
    *,
    column: str = "icml",
    figures: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    page: bool = False,
    progress: "Progress" = lambda *_: None,
) -> Made:
    """Figures and tables from what was trained and measured.

    Args:
        paths: run directories, folders that hold some, or result files.
        out: folder to write to.
        column: a look of ``style.COLUMNS``, or a width such as ``3.3in``.
        figures: only these; none: all.
        labels: run to what it is called; a run by its name, a pattern of names, or its folder.
        metrics: only these; none: all.
        baseline: compare all else with it, see ``snrkit.report.against``; None: nothing.
        page: also write one self-contained page, ``report.html``.
        progress: called with (done, total, note) as files are read and figures drawn.

    Raises:
        SpecError: there is no such figure, column, run, metric or baseline.
        ResultsError: there is nothing to show, or a file is damaged.
        OutputError: a file cannot be written.
    """
    for name in figures:
        FIGURES.require(name)
    inches(column)
    chosen = Chosen.of(labels, metrics, baseline)
    line = ("snrkit", "report", *map(str, paths), "--out", str(out), "--column", column)
    line += (*(word for name in figures for word in ("--figure", name)), *chosen.words)
    key = unchanged.key(paths, (*line, "--html") if page else line)
    known = unchanged.recall(out, key)
    if known:
        return Made(*known, [])
    # Plotting libraries are slow to import, and a report that is up to date does not need them.
    from snrkit.report.build import build
    from snrkit.report.page import write_page
    from snrkit.report.save import Destination
    from snrkit.report.style import look_of

    notes: list[str] = []
    report = build(paths, Destination(out, line, look_of(column)), notes.append, figures, chosen, progress)
    files = [*report.files, write_page(report)] if page else report.files
    write_json(out / unchanged.FILE, unchanged.record(key, files, notes))
    return Made(files, notes, report.drawn)
