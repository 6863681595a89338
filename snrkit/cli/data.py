"""``snrkit data``: list, fetch and verify data sets."""

from pathlib import Path

import click

from snrkit.cli.options import FOLDER, INPUT
from snrkit.cli.output import print_json, progress, tell
from snrkit.data import SOURCES
from snrkit.data.download import fetch
from snrkit.data.folder import Check, data_folder, is_usable, verify, whereabouts
from snrkit.errors import DataError

_FOLDER_HELP = "Folder of data files [default: $SNRKIT_DATA, else a cache folder]."
folder_option = click.option("--data-dir", type=INPUT, help=_FOLDER_HELP)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


@click.group()
def command() -> None:
    """List, fetch and verify data sets."""


@command.command("list")
@folder_option
@json_option
def list_(data_dir: Path | None, as_json: bool) -> None:
    """Show every data set and where it is."""
    folder = data_folder(data_dir)
    sources = [SOURCES.load(name) for name in SOURCES.names]
    rows = [(source, whereabouts(source, folder)) for source in sources]
    if as_json:
        entries = [
            {"name": s.name, "description": s.description, "kind": s.kind, "where": where, "found": where is not None}
            for s, where in rows
        ]
        print_json({"folder": str(folder), "sources": entries})
        return
    tell(f"data folder: {folder}")
    for source, where in rows:
        tell(f"{source.name:<15}{where or 'not found'}\n{'':<15}{source.description}")


@command.command("fetch")
@click.argument("name")
@click.option("--data-dir", type=FOLDER, help=_FOLDER_HELP)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def fetch_(name: str, data_dir: Path | None, quiet: bool) -> None:
    """Download a data set and check it."""
    source = SOURCES.load(name)
    if not source.files:
        tell(f"{name}: nothing to fetch ({source.where})")
        return
    folder = data_folder(data_dir)
    with progress(f"{name} (MB)", quiet) as update:
        written = fetch(source, folder, update)
    if not written:
        tell(f"{name}: already complete in {whereabouts(source, folder)}")
    for path in written:
        tell(f"{path}: written, checksum ok")


@command.command("verify")
@click.argument("name")
@folder_option
@json_option
def verify_(name: str, data_dir: Path | None, as_json: bool) -> None:
    """Compare the files of a data set with their checksums."""
    source = SOURCES.load(name)
    checks = verify(source, data_folder(data_dir))
    usable = is_usable(source, checks)
    if as_json:
        files = {found.name: {"state": found.state, "path": found.path and str(found.path)} for found in checks}
        print_json({"name": name, "ok": usable, "files": files})
    else:
        _print_checks(name, source.where, checks)
    if not usable:
        bad = ", ".join(f"{found.name} {found.state}" for found in checks if found.state in ("missing", "differs"))
        raise DataError(name, bad, source.by_hand or f"run 'snrkit data fetch {name}'")


def _print_checks(name: str, where: str, checks: list[Check]) -> None:
    if not checks:
        tell(f"{name}: nothing to verify ({where})")
    for found in checks:
        words = "no checksum is known for it" if found.state == "unchecked" else found.state
        tell(f"{found.path or found.name}: {words}")
