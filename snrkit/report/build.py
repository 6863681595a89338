"""Make every figure and table there is data for."""

from collections.abc import Callable, Sequence
from pathlib import Path

from snrkit.errors import ResultsError
from snrkit.report import style
from snrkit.report.collect import Collected, collect
from snrkit.report.drawing import Missing
from snrkit.report.figures import FIGURES
from snrkit.report.save import save_drawing, save_sheet
from snrkit.report.tables import evaluation_table

Note = Callable[[str], None]


def _say_nothing(_line: str) -> None:
    pass


def build(paths: Sequence[Path], out: Path, command: Sequence[str], note: Note = _say_nothing) -> list[Path]:
    """Draw all figures and tables from the runs and tables at some paths.

    Args:
        paths: run directories, folders that hold some, or ``*.parquet`` tables.
        out: folder to write to.
        command: the command line, for the sidecars.
        note: called with a line for each figure that has no data and each reading left out.

    Returns:
        The files written, in order.

    Raises:
        ResultsError: nothing to show at all, or a damaged file.
        SpecError: a run's ``config.toml`` is not valid.
        OutputError: a file cannot be written.
    """
    collected = collect(paths)
    with style.context():
        written = _figures(collected, out, command, note)
    sheet = evaluation_table(collected)
    if isinstance(sheet, Missing):
        note(f"evaluation: {sheet.reason}")
    else:
        written += save_sheet("evaluation", sheet, out, command)
    if not written:
        where = ", ".join(str(path) for path in paths)
        raise ResultsError(where, "nothing to show yet", "train, measure or evaluate first (see 'snrkit --help')")
    return written


def _figures(collected: Collected, out: Path, command: Sequence[str], note: Note) -> list[Path]:
    written = []
    for name in FIGURES.names:
        drawing = FIGURES.load(name)(collected)
        if isinstance(drawing, Missing):
            note(f"{name}: {drawing.reason}")
            continue
        for line in drawing.notes:
            note(f"{name}: {line}")
        written += save_drawing(name, drawing, out, command)
    return written
