"""Whether a report is still as the same command left it. Standard library only, so that the answer takes no time."""

import functools
import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from snrkit.errors import ResultsError
from snrkit.files import inside, parse_json, read_bytes
from snrkit.registry import plugins
from snrkit.report.find import find, inputs
from snrkit.version import version

# Beside the outputs, like their sidecars.
FILE = "report.meta.json"

_PACKAGES = ("matplotlib", "numpy", "pandas", "pyarrow", "seaborn")
# Of the figures and kinds of result of other packages; a module here could not import the figures without a circle.
_GROUPS = ("snrkit.figures", "snrkit.kinds")
_PACKAGE = Path(__file__).parent.parent
# What decides an output: all modules of some folders, and some files.
_FOLDERS = ("report", "runs/kinds", "specs", "diagnostics/metrics")
_SOURCES = ("report/page.html", "runs/folder.py", "runs/metrics.py", "files.py")


def key(paths: Sequence[Path], command: Sequence[str]) -> str:
    """Digest of all that decides a report: command, versions, source, and the contents of all results at some paths.

    Raises:
        ResultsError: a path leads nowhere, or a file cannot be read.
    """
    found = {path: None for kind, files in find(paths).items() for file in files for path in inputs(kind, file)}
    return digest_of([*command, *made_by(), *(f"{path} {_input_digest(path)}" for path in found)])


def recall(out: Path, wanted: str) -> tuple[list[Path], list[str]] | None:
    """Files and notes of the report in a folder, if it has this key and its files are as they were written, else None."""
    try:
        kept = parse_json(read_bytes(out / FILE).decode("utf-8"))
        files = {inside(out, name): expected for name, expected in kept["files"]}
        same = kept["key"] == wanted and all(digest(path) == expected for path, expected in files.items())
        return (list(files), list(kept["notes"])) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ResultsError):
        return None


def record(made: str, files: Sequence[Path], notes: Sequence[str]) -> dict[str, Any]:
    """What to keep of a report for ``recall``.

    Args:
        made: its key.
        files: what was written, all in one folder.
        notes: what was said of it.
    """
    return {"key": made, "files": [[path.name, digest(path)] for path in files], "notes": list(notes)}


def made_by() -> list[str]:
    """What makes the outputs: the digest of the report's source, the versions of the packages, and the plug-ins."""
    return [_code(), *(f"{package} {number}" for package, number in versions().items()), *_added()]


@functools.cache
def _code() -> str:
    whole = (path for folder in _FOLDERS for path in sorted((_PACKAGE / folder).rglob("*.py")))
    files = [*whole, *(_PACKAGE / name for name in _SOURCES)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@functools.cache
def _added() -> tuple[str, ...]:
    return tuple(plugin.identity for group in _GROUPS for plugin in plugins(group))


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what the bytes of an output depend on."""
    others = {package: installed_version(package) for package in _PACKAGES}
    added = {plugin.name: plugin.version for group in _GROUPS for plugin in plugins(group)}
    return {"snrkit": version(), **others, "python": platform.python_version(), **added}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def digest_of(parts: Sequence[str]) -> str:
    """SHA-256 of several texts."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _input_digest(path: Path) -> str:
    try:
        return digest(path)
    except OSError as error:
        problem = f"cannot be read ({error.__class__.__name__})"
        raise ResultsError(str(path), problem, "make it readable, or delete it") from None
