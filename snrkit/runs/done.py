"""What was done on each of several runs, so that a command that is called again passes over them. Imports no torch.

A record beside a run's results says what was asked of which checkpoint, and what was made of it. It is believed only while
all of that is as it was: the checkpoint, and each file, or in a table that others add to each row.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from snrkit.checksums import signed
from snrkit.errors import ResultsError
from snrkit.files import read_bytes, read_json, write_json
from snrkit.locks import merging
from snrkit.registry import plugins
from snrkit.runs.kinds.snr import SNR
from snrkit.version import version

if TYPE_CHECKING:
    import pandas as pd

_RECORD = "done.json"
# What tells groups of rows of a table apart, each with a row for every block and metric.
_GROUP = [*(name for name in SNR.key if name not in ("block", "metric")), "draws", "parameters", "complete"]


class Made(NamedTuple):
    """A file that a command made on a run.

    Attributes:
        path: the file.
        rows: of a table that others may add rows to, those that were added; None: the file is as it was written.
    """

    path: Path
    rows: "pd.DataFrame | None" = None


def request(command: str, asked: Mapping[str, Any]) -> str:
    """Digest of what is asked of a run: the command, all that decides its result, and the version of what makes it."""
    what = {"command": command, "asked": asked, "version": version(), "plugins": [one.identity for one in plugins()]}
    return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:24]


def is_done(checkpoint: Path, wanted: str) -> bool:
    """Whether the same was asked of a checkpoint before, and what was made of it then is still there."""
    file = _record(checkpoint)
    try:
        kept = read_json(file)[wanted]
        same = kept["checkpoint"] == _digest(checkpoint)
        return same and all(_is_there(file.parent / name, made) for name, made in kept["made"].items())
    except (OSError, ResultsError, KeyError, TypeError, AttributeError, ValueError):
        return False


def note(checkpoint: Path, wanted: str, made: Sequence[Made]) -> None:
    """Record what was made of a checkpoint as it was asked.

    Raises:
        OutputError: the record cannot be written.
        ResourceError: other processes were at it for too long.
    """
    file = _record(checkpoint)
    home = file.parent.resolve()
    kept = {_name(one.path.resolve(), home): list(_groups(one.rows)) if one.rows is not None else _digest(one.path)
            for one in made}  # fmt: skip
    with merging(file):
        try:
            before = read_json(file)
        except ResultsError:
            before = {}
        all_that = before if isinstance(before, dict) else {}
        write_json(file, signed(all_that | {wanted: {"checkpoint": _digest(checkpoint), "made": kept}}))


def _record(checkpoint: Path) -> Path:
    """Beside the results of a run; each of several checkpoints in a folder has its own."""
    named = checkpoint.name == "run.pt"
    return checkpoint.with_name(_RECORD) if named else checkpoint.with_suffix(f".{_RECORD}")


def _name(path: Path, home: Path) -> str:
    return str(path.relative_to(home) if path.is_relative_to(home) else path)


def _digest(path: Path) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()


def _is_there(path: Path, made: Any) -> bool:
    if isinstance(made, str):
        return _digest(path) == made
    present = {tuple(group): count for *group, count in _groups(SNR.read(path))}
    return all(present.get(tuple(group), 0) >= count for *group, count in made)


def _groups(rows: "pd.DataFrame") -> Iterator[list[Any]]:
    """Each group of rows as text, and how many rows it has."""
    columns = [rows[name].astype(str) for name in _GROUP]
    for group, count in Counter(zip(*columns, strict=True)).items():
        yield [*group, count]
