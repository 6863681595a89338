"""Who is who: folders that hold one and the same run, and those that do not although they look like it.

A run is its settings, its seed and the parameters that came of them. A copy of its folder is the same run, wherever it
lies and whatever was measured on either since; a folder with the same settings and seed but other parameters is another
run, which is no further seed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from snrkit.errors import ResultsError
from snrkit.report.escape import visible
from snrkit.report.unchanged import digest
from snrkit.runs.folder import RunDir


@dataclass(frozen=True)
class Owner:
    """The run that a folder holds.

    Attributes:
        folder: where it lies, or its original if it is a copy.
        name: what it is called.
        apart: the run that has its settings and seed too but other parameters, if there is one.
        folders: all that hold it, the original first.
    """

    folder: Path
    name: str
    apart: Path | None
    folders: tuple[Path, ...]

    @property
    def names(self) -> frozenset[str]:
        """What it may be called in tables."""
        return frozenset(visible(RunDir(folder).name) for folder in self.folders)


@dataclass(frozen=True)
class Evidence:
    """What tells two runs of the same settings and seed apart; whatever is missing tells nothing.

    Attributes:
        checkpoint: digest of the latest checkpoint.
        metrics: what was noted after each epoch, without times.
        readings: of parameters and of evaluations, by what they are of.
    """

    checkpoint: str
    metrics: tuple[str, ...]
    readings: Mapping[tuple[Any, ...], Any]

    def is_of_same_run(self, other: "Evidence") -> bool:
        """Whether both are of the same parameters: the first thing that both have decides; without any they are."""
        if self.checkpoint and other.checkpoint:
            return self.checkpoint == other.checkpoint
        if self.metrics and other.metrics:
            return self.metrics == other.metrics
        shared = self.readings.keys() & other.readings.keys()
        return all(self.readings[one] == other.readings[one] for one in shared)


def owners(runs: Mapping[Path, tuple[str, Any]], tables: Mapping[Path, Sequence[Path]]) -> dict[Path, Owner]:
    """The run that each folder holds.

    Args:
        runs: folder to settings and seed, as far as these are known.
        tables: folder to its gradient measurements.
    """
    alike: dict[tuple[str, str], list[Path]] = {}
    for folder, (setting, seed) in runs.items():
        alike.setdefault((setting, str(seed)), []).append(folder)
    found: dict[Path, Owner] = {}
    for folders in alike.values():
        plainest: Path | None = None
        for copies in _classes(folders, tables):
            first = min(copies, key=_depth)
            ordered = (first, *(folder for folder in copies if folder != first))
            found |= dict.fromkeys(copies, Owner(first, RunDir(first).name, plainest, ordered))
            plainest = plainest or first
    return found


def _depth(folder: Path) -> tuple[int, int]:
    """An original has the plainer path of two."""
    return len(folder.parts), len(folder.name)


def _classes(folders: Sequence[Path], tables: Mapping[Path, Sequence[Path]]) -> list[list[Path]]:
    """Folders with the same settings and seed, by run."""
    if len(folders) == 1:
        return [list(folders)]
    found: list[tuple[Evidence, list[Path]]] = []
    for folder in sorted(folders, key=_depth):
        own = evidence(folder, tables.get(folder, ()))
        same = next((copies for first, copies in found if first.is_of_same_run(own)), None)
        if same is None:
            found.append((own, [folder]))
        else:
            same.append(folder)
    return [copies for _, copies in found]


def evidence(folder: Path, tables: Iterable[Path]) -> Evidence:
    """What a folder holds that tells its run from others.

    Raises:
        ResultsError: a file of it cannot be read.
    """
    run = RunDir(folder)
    checkpoint = digest(run.checkpoint) if run.checkpoint.is_file() else ""
    rows = run.read_metrics() if run.metrics.is_file() else []
    metrics = tuple(json.dumps({k: v for k, v in row.items() if k != "seconds"}, sort_keys=True) for row in rows)
    readings: dict[tuple[Any, ...], Any] = {}
    for table in tables:
        readings |= _parameters(table, run.name)
    return Evidence(checkpoint, metrics, readings | _scores(run.evaluation))


def _parameters(table: Path, name: str) -> dict[tuple[Any, ...], str]:
    """Step to digest of the parameters, of the rows that bear the run's name."""
    try:
        columns = pq.read_schema(table).names
        if not {"run", "step", "parameters"} <= set(columns):
            return {}
        rows = pq.read_table(table, columns=["run", "step", "parameters"]).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        problem = f"not a readable Parquet file ({error.__class__.__name__})"
        raise ResultsError(visible(str(table)), problem, "delete it and make it again") from None
    runs = {row["run"] for row in rows}
    own = [row for row in rows if row["parameters"] and (row["run"] == name or len(runs) == 1)]
    return {("parameters", row["step"]): row["parameters"] for row in own}


def _scores(path: Path) -> dict[tuple[Any, ...], str]:
    """Values of an evaluation; none of a file that is none, which reading it for a table says."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        key = [content.get(name) for name in ("step", "data", "samples", "seed")]
        return {("score", json.dumps([*key, row["metric"]])): repr(row["value"]) for row in content.get("rows", ())}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def said(found: Mapping[Path, Owner]) -> list[str]:
    """What a reader is to know: copies that count once, and runs that look like copies and are none; a line each."""
    lines = []
    for folder, owner in found.items():
        if folder != owner.folder:
            lines.append(f"{visible(str(folder))}: a copy of the run {visible(str(owner.folder))}, counted once")
        elif owner.apart:
            other = f"the run {visible(str(owner.apart))}"
            problem = (
                f"has settings and seed of {other} but other parameters, so it is kept apart and is no further seed"
            )
            lines.append(f"{visible(str(folder))}: {problem}")
    return lines
