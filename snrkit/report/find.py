"""Which files are results, of which kind, and which of a run's other files count with them. Standard library only."""

import difflib
import fnmatch
import functools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from snrkit.errors import ResultsError
from snrkit.report.escape import visible
from snrkit.runs.folder import STEPS
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.base import Kind

_NOT_RESULTS = "*.meta.json"


def _kinds() -> dict[str, Kind]:
    """All kinds of result, in the order in which their patterns are tried: that of a mere ending comes last."""
    return _ordered(tuple(KINDS.names))


# Asked for once for every file.
@functools.lru_cache(maxsize=4)
def _ordered(names: tuple[str, ...]) -> dict[str, Kind]:
    found = {name: KINDS.load(name) for name in names}
    return dict(sorted(found.items(), key=lambda item: item[1].pattern == f"*{Path(item[1].pattern).suffix}"))


def _say_nothing(_line: str) -> None:
    pass


def find(paths: Sequence[Path], note: Callable[[str], None] = _say_nothing) -> dict[str, list[Path]]:
    """The result files at or below some paths, each once, by kind. Links to folders are not followed.

    Args:
        paths: run directories, folders that hold some at any depth, or result files; a CSV file that is named itself
            and of no kind is taken for a tidy table of another program.
        note: called with a line for each folder that cannot be read.

    Raises:
        ResultsError: a path leads nowhere, or to a file that is none.
    """
    places = {place.resolve(): place for path in paths for place in _places(path, note)}
    files: dict[str, list[Path]] = {kind: [] for kind in KINDS.names}
    for place in places.values():
        # What was named itself and is of no kind is a table of another program.
        files[_kind(place.name) or "snr"].append(place)
    return files


def inputs(kind: str, path: Path) -> list[Path]:
    """A file and the files of its run directory that count with it."""
    beside = (run_folder(path) / name for name in KINDS.load(kind).of_run)
    return [path, *(extra for extra in beside if extra.is_file())]


def run_folder(path: Path) -> Path:
    """The run directory of a file in it or among its kept checkpoints."""
    return path.parent.parent if path.parent.name == STEPS else path.parent


def _places(path: Path, note: Callable[[str], None]) -> Iterator[Path]:
    """Result files at or below a path, in sorted order."""
    if not _there(path):
        near = _nearest(path)
        remedy = "give a run directory, a folder of them or a results file"
        raise ResultsError(visible(str(path)), "does not exist", f"did you mean '{near}'? {remedy}" if near else remedy)
    if not path.is_dir():
        if _kind(path.name) is None and path.suffix != ".csv":
            known = ", ".join(kind.pattern for kind in _kinds().values())
            problem = f"is no results file ({known})"
            raise ResultsError(visible(str(path)), problem, "give the run directory it lies in")
        if not path.is_file():
            raise ResultsError(visible(str(path)), "is no regular file", "give a run directory or a results file")
        yield path
        return

    def unread(error: OSError) -> None:
        note(
            f"{visible(str(error.filename))}: cannot be read ({error.__class__.__name__}), so what it holds is left out"
        )

    for folder, below, files in os.walk(path, onerror=unread):
        below[:] = sorted(name for name in below if not name.startswith(".") and not name.endswith(".partial"))
        found = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        yield from (place for place in found if _kind(place.name) and _is_read(place))


def _is_read(place: Path) -> bool:
    """Whether a file is to be read: no pipe or device, which would be waited for. What is missing, reading names."""
    try:
        return stat.S_ISREG(place.stat().st_mode)
    except (FileNotFoundError, PermissionError):
        return True
    except OSError:  # a loop of links
        return False


def _there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, RuntimeError):  # an over-long name, a loop of links
        return False


def _nearest(path: Path) -> str:
    """The place beside a path that leads nowhere whose name is most like it; empty if there is none."""
    try:
        names = [entry.name for entry in os.scandir(path.parent)]
    except (OSError, ValueError):
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return visible(str(path.with_name(near[0]))) if near else ""


def _kind(name: str) -> str | None:
    if fnmatch.fnmatch(name, _NOT_RESULTS):
        return None
    return next((kind for kind, known in _kinds().items() if fnmatch.fnmatch(name, known.pattern)), None)
