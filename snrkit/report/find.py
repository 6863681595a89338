"""Which files are results, of which kind, and which of a run's other files count with them. Standard library only."""

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from snrkit.errors import ResultsError


@dataclass(frozen=True)
class FileKind:
    """One kind of result file.

    Attributes:
        pattern: of the file's name.
        beside: files of the run directory that count too.
    """

    pattern: str
    beside: tuple[str, ...] = ()


# The first pattern that a file's name matches decides.
FILE_KINDS = {
    "draws": FileKind("*.draws.parquet"),
    "points": FileKind("*.points.parquet", ("config.toml",)),
    "reconstructions": FileKind("*reconstructions*.parquet"),
    "latents": FileKind("*latents*.parquet"),
    "snr": FileKind("*.parquet", ("config.toml",)),
    "slopes": FileKind("*.slopes.csv", ("config.toml",)),
    "metrics": FileKind("metrics.jsonl", ("config.toml", "status.json")),
    "evaluations": FileKind("*evaluation*.json", ("config.toml",)),
    "advice": FileKind("*advice*.json"),
    "published": FileKind("*.published.csv"),
}
_NOT_RESULTS = "*.meta.json"
# ``RunDir.steps``, spelt out since snrkit.results loads pandas; a test compares.
STEPS = "steps"


def find(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """The result files at or below some paths, each once, by kind.

    Args:
        paths: run directories, folders that hold some at any depth, or result files.

    Raises:
        ResultsError: a path leads nowhere, or to a file that is none.
    """
    places = {place.resolve(): place for path in paths for place in _places(path)}
    files: dict[str, list[Path]] = {kind: [] for kind in FILE_KINDS}
    for place in places.values():
        files[str(_kind(place.name))].append(place)
    return files


def inputs(kind: str, path: Path) -> list[Path]:
    """A file and the files of its run directory that count with it."""
    beside = (run_folder(path) / name for name in FILE_KINDS[kind].beside)
    return [path, *(extra for extra in beside if extra.exists())]


def run_folder(path: Path) -> Path:
    """The run directory of a file in it or among its kept checkpoints."""
    return path.parent.parent if path.parent.name == STEPS else path.parent


def _places(path: Path) -> Iterator[Path]:
    """Result files at or below a path, in sorted order."""
    if not path.exists():
        raise ResultsError(str(path), "does not exist", "give a run directory, a folder of them or a results file")
    if not path.is_dir():
        if _kind(path.name) is None:
            known = ", ".join(kind.pattern for kind in FILE_KINDS.values())
            raise ResultsError(str(path), f"is no results file ({known})", "give the run directory it lies in")
        yield path
        return
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if not name.startswith(".") and not name.endswith(".partial"))
        found = (Path(folder, name) for name in sorted(files) if not name.startswith("."))
        yield from (place for place in found if _kind(place.name))


def _kind(name: str) -> str | None:
    if fnmatch.fnmatch(name, _NOT_RESULTS):
        return None
    return next((kind for kind, known in FILE_KINDS.items() if fnmatch.fnmatch(name, known.pattern)), None)
