"""Make every figure and table there is data for, and only those that changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from snrkit.errors import ResultsError, SnrkitError
from snrkit.report import style
from snrkit.report.against import require_baseline
from snrkit.report.chosen import Chosen
from snrkit.report.collect import Tables, collect
from snrkit.report.drawing import FigureKind, Missing, Sheet
from snrkit.report.escape import visible
from snrkit.report.figures import FIGURES
from snrkit.report.save import Destination, current, save_drawing, save_sheet
from snrkit.report.sheets import SHEETS, SheetKind
from snrkit.types import Progress

Note = Callable[[str], None]
Made = TypeVar("Made")
# Files that one line can name.
_MOST_NAMED = 3
# Files that are read in the time that a figure or a table takes, about.
_AS_FILES = 20


@dataclass
class Report:
    """What a report holds.

    Attributes:
        tables: what it was made from.
        to: where it went.
        figures: name to sidecar, in the order of the story.
        sheets: name to (table, sidecar).
        missing: name of a figure or table to why it is not there.
        drawn: names of what was made anew.
    """

    tables: Tables
    to: Destination
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    sheets: dict[str, tuple[Sheet, dict[str, Any]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    drawn: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """All files, in order."""
        sidecars = self.figures | {name: sidecar for name, (_, sidecar) in self.sheets.items()}
        return [
            path
            for name, sidecar in sidecars.items()
            for path in (*(self.to.out / file for file in sorted(sidecar["outputs"])), self.to.sidecar(name))
        ]


def _say_nothing(_line: str) -> None:
    pass


class _Steps:
    """How far a report is: a figure or a table counts as so many files that are read.

    Args:
        progress: called with (done, total, note).
        tables: what it is made from.
        outputs: kinds of result that each figure and table needs.
    """

    def __init__(self, progress: Progress, tables: Tables, outputs: Sequence[Sequence[str]]) -> None:
        needed = {kind for kinds in outputs for kind in kinds}
        self._progress, self._done = progress, 0
        self._total = sum(len(tables.files(kind)) for kind in needed) + _AS_FILES * len(outputs)

    def read(self) -> None:
        """A file is read."""
        self._tell(1, "reading")

    def made(self, name: str) -> None:
        """A figure or a table is made, or known to be missing."""
        self._tell(_AS_FILES, name)

    def _tell(self, steps: int, note: str) -> None:
        self._done = min(self._done + steps, self._total)
        self._progress(self._done, self._total, note)


def build(
    paths: Sequence[Path],
    to: Destination,
    note: Note = _say_nothing,
    figures: Sequence[str] = (),
    chosen: Chosen = Chosen(),  # noqa: B008 (frozen)
    progress: Progress = lambda *_: None,
) -> Report:
    """Draw figures and tables from the results at some paths; what is up to date stays as it is.

    Args:
        paths: run directories, folders that hold some, or result files.
        to: where to, and for what page.
        note: called with a line for each figure that has no data and each reading left out.
        figures: names of those to draw; none: all.
        chosen: what to show, and under which names.
        progress: called with (done, total, note).

    Raises:
        ResultsError: nothing to show at all, or a damaged file.
        SpecError: a run's ``config.toml`` is not valid, or there is no such run, metric or baseline.
        OutputError: a file cannot be written.
    """
    report = Report(collect(paths, chosen), to)
    drawn = {name: FIGURES.load(name) for name in figures or FIGURES.names}
    sheets = {name: sheet for name, sheet in SHEETS.items() if chosen.baseline or not sheet.against}
    steps = _Steps(progress, report.tables, [kind.needs for kind in (*drawn.values(), *sheets.values())])
    report.tables.told = steps.read
    report.tables.require_chosen()
    if chosen.baseline:
        require_baseline(report.tables)
    with style.context(to.look):
        for name, kind in drawn.items():
            _figure(name, kind, report)
            steps.made(name)
    for name, sheet in sheets.items():
        _sheet(name, sheet, report)
        steps.made(name)
    if not report.files:
        where = ", ".join(str(path) for path in paths)
        first = "train, measure or evaluate first (see 'snrkit --help')"
        remedy = "give the runs themselves, or a table of gradients" if all(path.is_file() for path in paths) else first
        raise ResultsError(where, "nothing to show yet", remedy)
    for line in report.tables.notes:
        note(line)
    for name, reason in report.missing.items():
        note(f"{name}: {reason}")
    for name, sidecar in report.figures.items():
        for line in sidecar["notes"]:
            note(f"{name}: {line}")
    return report


def _made(name: str, inputs: Sequence[Path], make: Callable[[], Made]) -> Made:
    """What ``make`` makes of some files.

    Raises:
        ResultsError: these hold what no check foresaw, and it made something else go wrong.
    """
    try:
        return make()
    except SnrkitError:
        raise
    except (ArithmeticError, LookupError, TypeError, ValueError, MemoryError) as error:
        where = ", ".join(visible(str(path)) for path in inputs[:_MOST_NAMED])
        more = f" and {len(inputs) - _MOST_NAMED} more" if len(inputs) > _MOST_NAMED else ""
        problem = f"'{name}' cannot be made of what is there ({error.__class__.__name__}: {visible(str(error))[:80]})"
        remedy = "look for values out of range, or name other runs or figures"
        raise ResultsError(where + more, problem, remedy) from error


def _figure(name: str, kind: FigureKind, report: Report) -> None:
    inputs = report.tables.inputs(kind.needs)
    sidecar = current(name, inputs, report.to)
    if sidecar is None:
        drawing = _made(name, inputs, lambda: kind.draw(report.tables, report.to.look))
        if isinstance(drawing, Missing):
            report.missing[name] = drawing.reason
            return
        sidecar = save_drawing(name, drawing, inputs, report.to, kind)
        report.drawn.append(name)
    report.figures[name] = sidecar


def _sheet(name: str, kind: SheetKind, report: Report) -> None:
    inputs = report.tables.inputs(kind.needs)
    sheet = _made(name, inputs, lambda: kind.make(report.tables))
    if isinstance(sheet, Missing):
        report.missing[name] = sheet.reason
        return
    sidecar = current(name, inputs, report.to)
    if sidecar is None:
        sidecar = save_sheet(name, sheet, inputs, report.to)
        report.drawn.append(name)
    report.sheets[name] = (sheet, sidecar)
