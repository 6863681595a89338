"""``snrkit report``: figures, tables and a page from runs and measurements."""

from collections.abc import Sequence
from pathlib import Path

import click

from snrkit.cli.options import FOLDER, INPUT, NAMES
from snrkit.cli.output import late_progress, print_json, say, tell
from snrkit.errors import SpecError
from snrkit.report.chosen import is_meant
from snrkit.report.make import make


@click.command()
@click.argument("paths", nargs=-1, type=INPUT)
@click.option("--out", type=FOLDER, default=Path("figures"), show_default=True, help="Folder to write to.")
@click.option(
    "--column",
    default="icml",
    show_default=True,
    metavar="PAGE|WIDTH",
    help="Width, fonts and lines to match: icml, neurips, a4, slide, or a width such as 3.3in, 84mm, 240pt.",
)
@click.option(
    "--figure",
    "figures",
    multiple=True,
    metavar="NAME",
    help="Only this figure; repeatable. An unknown name lists them all.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="RUN=NAME",
    help="What a run is called in figures and tables; repeatable. RUN: its name, a pattern ('*-iwae-*') or its folder.",
)
@click.option("--metrics", type=NAMES, help="Only these, in figures and tables, e.g. log_p,kl_q_p.")
@click.option(
    "--baseline",
    help="Compare all else with this estimator, setting or run, on the same test points and on the same noise: two tables.",
)
@click.option("--html", "page", is_flag=True, help="Also one self-contained page, OUT/report.html.")
@click.option("--open", "show", is_flag=True, help="Write the page and open it in the browser.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--quiet", is_flag=True, help="Do not say what is missing.")
def command(  # noqa: PLR0913 (one per option)
    *,
    paths: tuple[Path, ...],
    out: Path,
    column: str,
    figures: tuple[str, ...],
    labels: tuple[str, ...],
    metrics: list[str] | None,
    baseline: str | None,
    page: bool,
    show: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Figures, tables and a page from what was trained and measured.

    PATHS are run directories, folders that hold some, or result files [default: checkpoints]. Prints the files; only what
    changed is drawn again. A figure without data is left out, with a line on stderr that names the command to run. Runs are
    called by the settings in which they differ, unless --label says otherwise.
    """
    paths = paths or (Path("checkpoints"),)
    with late_progress("report", quiet) as update:
        made = make(
            paths, out, column=column, figures=figures, labels=_labels(labels, paths),
            metrics=metrics or (), baseline=baseline, page=page or show, progress=update,
        )  # fmt: skip
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


def _labels(given: Sequence[str], paths: Sequence[Path]) -> dict[str, str]:
    """Run to name, of texts ``RUN=NAME``.

    Raises:
        SpecError: one is none, may be read in two ways, or a run has two names.
    """
    found: dict[str, str] = {}
    for text in given:
        run, name = _parted(text, paths)
        if found.setdefault(run, name) != name:
            raise SpecError("label", f"'{run}' is given two names", "give one")
    return found


def _parted(text: str, paths: Sequence[Path]) -> tuple[str, str]:
    """The run and the name of a label; of several = that one is meant before which a run stands.

    Raises:
        SpecError: there is no =, or runs stand before several.
    """
    parts = text.split("=")
    ways = [("=".join(parts[:n]).strip(), "=".join(parts[n:]).strip()) for n in range(1, len(parts))]
    if not ways:
        raise SpecError("label", f"'{text}' has no =", "write RUN=NAME, e.g. digits-iwae=IWAE")
    if len(ways) == 1:
        return ways[0]
    from snrkit.runs.index import run_folders  # it loads pydantic, which a report that changes nothing does without

    runs = [(run.name, str(run)) for path in paths if path.is_dir() for run in run_folders(path)]
    meant = [way for way in ways if any(is_meant(way[0], *run) for run in runs)]
    if len(meant) > 1:
        several = " or ".join(f"'{run}'" for run, _ in meant)
        raise SpecError("label", f"'{text}' may be of {several}", "write ? for every = in the run's name")
    return meant[0] if meant else ways[0]
