"""``snrkit report``: figures, tables and a page from runs and measurements."""

from pathlib import Path

import click

from snrkit.cli.options import FOLDER, INPUT
from snrkit.cli.output import print_json, say, tell
from snrkit.report.make import make

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
    made = make(paths or (Path("checkpoints"),), out, column=column, figures=figures, page=page or show)
    if not quiet:
        for text in made.notes:
            say(text)
    if as_json:
        print_json({"written": [str(path) for path in made.files], "drawn": made.drawn, "notes": made.notes})
    else:
        for path in made.files:
            tell(str(path))
    if show:
        click.launch(made.files[-1].resolve().as_uri())
