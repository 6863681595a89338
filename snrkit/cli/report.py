"""``snrkit report``: figures and tables from runs and measurements."""

from pathlib import Path

import click

from snrkit.cli.output import print_json


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("figures"), show_default=True, help="Folder to write to."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--quiet", is_flag=True, help="Do not say what is missing.")
def command(paths: tuple[Path, ...], out: Path, as_json: bool, quiet: bool) -> None:
    """Figures and tables from what was trained and measured.

    PATHS are run directories, folders that hold some, or .parquet tables [default: checkpoints]. Prints the files written;
    a figure without data is left out, with a line on stderr that names the command to run.
    """
    # Plotting libraries are slow to import; `--help` does not need them.
    from snrkit.report.build import build

    notes: list[str] = []
    wanted = paths or (Path("checkpoints"),)
    line = ["snrkit", "report", *map(str, wanted), "--out", str(out)]
    written = build(wanted, out, line, notes.append)
    if not quiet:
        for text in notes:
            click.echo(text, err=True)
    if as_json:
        print_json({"written": [str(path) for path in written], "notes": notes})
    else:
        for path in written:
            click.echo(str(path))
