"""The state of unfinished runs between two visits to a machine, small enough for the repository.

    python -m analyses.rainforth2018.state pack STATE FOLDER      the runs of a sweep's folder, all at the same step
    python -m analyses.rainforth2018.state unpack FOLDER STATE    and back, for the sweep to go on from
    python -m analyses.rainforth2018.state show FOLDER            what a folder holds

Parameters stay as they are, Adam's moments are rounded to bfloat16: five runs of Table 1 take 17 MB. A run that went on from
there says so in its checkpoints and in `rounded_at` of its metrics. FOLDER is replaced as a whole, by runs that are further,
and not more often than four times, since a repository keeps every version of it.
"""

import argparse
import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snrkit.errors import CheckpointError, SnrkitError
from snrkit.files import inside, output_error, read_bytes, read_json, write_json
from snrkit.runs.checkpoint import Checkpoint
from snrkit.runs.compact import pack, unpack
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in

MANIFEST, SUFFIX = "state.json", ".state"
MOST_VERSIONS = 5


def pack_all(state: Path, folder: Path) -> dict[str, Any]:
    """Write the state of every run in a sweep's folder into another folder, which is replaced whole or not at all.

    Returns:
        The manifest: which version of the folder this is, and by run its epoch, step and the SHA-256 of its file.

    Raises:
        CheckpointError: there are no runs, they do not stand at the same step, what is there already is further or of other
            runs, or it was replaced too often.
        SnrkitError: as for ``runs.compact.pack``.
    """
    runs = [RunDir(path.parent) for path in sorted(state.glob("*/run.pt"))]
    if not runs:
        raise CheckpointError(str(state), "holds no runs", "give the folder of a sweep")
    fresh = _beside(folder, "new")
    try:
        with alone_in(state):
            kept = {run.name: pack(run, fresh / f"{run.name}{SUFFIX}") for run in runs}
        _require_level(state, kept)
        manifest = {"version": _next_version(folder, kept), "moments": "bfloat16", "runs": _described(kept, fresh)}
        write_json(fresh / MANIFEST, manifest)
        _replace(folder, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def _require_level(state: Path, kept: dict[str, Checkpoint]) -> None:
    if len({(found.epoch, found.position, found.step) for found in kept.values()}) > 1:
        steps = ", ".join(f"{name} {found.step}" for name, found in kept.items())
        raise CheckpointError(str(state), f"its runs stand at different steps ({steps})", "go on until they are level")


def unpack_all(folder: Path, state: Path) -> list[Checkpoint]:
    """Write run directories from what ``pack_all`` wrote, all or none.

    Raises:
        CheckpointError: a file is missing, damaged, or not the one of the manifest; or there are runs in ``state`` already.
        ResultsError: there is no manifest, or it is damaged.
    """
    manifest = _manifest(folder)
    if state.exists() and any(state.iterdir()):
        raise CheckpointError(str(state), "holds something already", "give a new folder, or go on from what is there")
    fresh, found = _beside(state, "new"), []
    try:
        for name, about in manifest["runs"].items():
            file = inside(folder, f"{name}{SUFFIX}")
            if not file.is_file() or _digest(file) != about["sha256"]:
                problem = "is missing, or not the file that the manifest tells of"
                raise CheckpointError(str(file), problem, "put back the folder as it was committed")
            found.append(unpack(file, RunDir(inside(fresh, name))))
        _replace(state, fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return found


def show(folder: Path) -> str:
    """One line per run of a packed folder."""
    manifest = _manifest(folder)
    lines = [f"{name}: epoch {about['epoch']}, step {about['step']}" for name, about in manifest["runs"].items()]
    head = f"version {manifest['version']} of at most {MOST_VERSIONS}, Adam's moments in {manifest['moments']}"
    return "\n".join([head, *lines])


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST)
    runs = manifest.get("runs") if isinstance(manifest, dict) else None
    sound = (
        isinstance(runs, dict)
        and runs
        and all(isinstance(about, dict) and "sha256" in about for about in runs.values())
    )
    if not sound:
        raise CheckpointError(str(folder / MANIFEST), "tells of no runs", "put back the folder as it was committed")
    return dict(manifest)


def _next_version(folder: Path, kept: dict[str, Checkpoint]) -> int:
    """The number of the version that takes the place of what is there."""
    if not (folder / MANIFEST).exists():
        return 1
    old = _manifest(folder)
    if set(old["runs"]) != set(kept):
        raise CheckpointError(str(folder), "holds other runs", "give another folder")
    if max(about["step"] for about in old["runs"].values()) >= min(found.step for found in kept.values()):
        raise CheckpointError(str(folder), "holds the same runs as far, or further", "go on with them first")
    if old["version"] >= MOST_VERSIONS:
        problem = f"has had {MOST_VERSIONS} versions, each of which the repository keeps"
        raise CheckpointError(str(folder), problem, "finish the runs, and export them")
    return int(old["version"]) + 1


def _described(kept: dict[str, Checkpoint], fresh: Path) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "epoch": found.epoch, "step": found.step, "rounded": found.rounded,
            "sha256": _digest(fresh / f"{name}{SUFFIX}"),
        }
        for name, found in kept.items()
    }  # fmt: skip


def _digest(file: Path) -> str:
    return hashlib.sha256(read_bytes(file)).hexdigest()


def _beside(folder: Path, what: str) -> Path:
    """A hidden folder next to one, empty."""
    place = folder.absolute().parent / f".{folder.name}.{what}"
    shutil.rmtree(place, ignore_errors=True)
    return place


def _replace(folder: Path, fresh: Path) -> None:
    """Put a new folder in the place of an old one, which stays until the new one is there.

    Raises:
        OutputError: it cannot be moved there.
    """
    old = _beside(folder, "old")
    try:
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        raise output_error(folder, error) from None
    shutil.rmtree(old, ignore_errors=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Pack, unpack or show."""
    parser = argparse.ArgumentParser(
        prog="python -m analyses.rainforth2018.state", description=__doc__.partition("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, places in (("pack", ("state", "folder")), ("unpack", ("folder", "state")), ("show", ("folder",))):
        command = commands.add_parser(name)
        for place in places:
            command.add_argument(place, type=Path)
    chosen = parser.parse_args(argv)
    try:
        if chosen.command == "pack":
            pack_all(chosen.state, chosen.folder)
        elif chosen.command == "unpack":
            unpack_all(chosen.folder, chosen.state)
        print(show(chosen.folder))
    except SnrkitError as error:
        print(f"state.py: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
