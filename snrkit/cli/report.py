"""``snrkit report``: figures, tables and a page from runs and measurements."""

from collections.abc import Sequence
from pathlib import Path

import click

from snrkit.cli.options import FOLDER, INPUT
from snrkit.cli.output import print_json, say, tell
from snrkit.report import unchanged
from snrkit.report.figures import FIGURES

# Spelt out, since snrkit.report.style loads matplotlib; a test compares.
COLUMNS = ("icml", "neurips", "a4", "slide")


@click.command()
@click.argument("paths", nargs=-1, type=INPUT)
@click.option("--out", type=FOLDER, default=Path("figures"), show_default=True, help="Folder to write to.")
@click.option(
    "--column", type=click.Choice(COLUMNS), default="icml", show_default=True, help="Width, fonts and lines to match."
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    metavar="NAME",
    help="Only this figure; repeatable. An unknown name lists them all.",
)
@click.option("--html", "page", is_flag=True, help="Also one self-contained page, OUT/report.html.")
@click.option("--open", "show", is_flag=True, help="Write the page and open it in the browser.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--quiet", is_flag=True, help="Do not say what is missing.")
def command(
    paths: tuple[Path, ...],
    out: Path,
    column: str,
    figures: tuple[str, ...],
    page: bool,
    show: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Figures, tables and a page from what was trained and measured.

    PATHS are run directories, folders that hold some, or result files [default: checkpoints]. Prints the files; only what
    changed is drawn again. A figure without data is left out, with a line on stderr that names the command to run.
    """
    for name in figures:
        FIGURES.require(name)
    wanted = paths or (Path("checkpoints"),)
    page = page or show
    line = ("snrkit", "report", *map(str, wanted), "--out", str(out), "--column", column)
    line += tuple(word for name in figures for word in ("--figure", name))
    key = unchanged.key(wanted, (*line, "--html") if page else line)
    known = unchanged.recall(out, key)
    files, notes, drawn = (*known, []) if known else _make(wanted, key, out, line, column, figures, page=page)
    if not quiet:
        for text in notes:
            say(text)
    if as_json:
        print_json({"written": [str(path) for path in files], "drawn": drawn, "notes": notes})
    else:
        for path in files:
            tell(str(path))
    if show:
        click.launch(files[-1].resolve().as_uri())


def _make(
    paths: Sequence[Path], key: str, out: Path, line: tuple[str, ...], column: str, figures: Sequence[str], *, page: bool
) -> tuple[list[Path], list[str], list[str]]:  # fmt: skip
    """Draw what changed; returns the files, the notes and the names of what was drawn."""
    # Plotting libraries are slow to import; neither `--help` nor a report that is up to date needs them.
    from snrkit.files import write_json
    from snrkit.report.build import build
    from snrkit.report.save import Destination
    from snrkit.report.style import COLUMNS as LOOKS

    notes: list[str] = []
    report = build(paths, Destination(out, line, LOOKS[column]), notes.append, figures)
    files = report.files
    if page:
        from snrkit.report.page import write_page

        files.append(write_page(report))
    write_json(out / unchanged.FILE, unchanged.record(key, files, notes))
    return files, notes, report.drawn
