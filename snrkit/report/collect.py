"""Find run directories and tables, and load what they hold."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.config import RunSpec
from snrkit.errors import ResultsError, SpecError
from snrkit.results import COLUMNS, RunDir, read_json, read_table

EVALUATION_SCHEMA = 1


@dataclass(frozen=True)
class Score:
    """One evaluated quantity of a run."""

    metric: str
    value: float
    stderr: float
    definition: str


@dataclass(frozen=True)
class Evaluation:
    """The contents of ``evaluation.json``."""

    step: int
    data: str
    points: int
    samples: int
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Run:
    """A run directory as found.

    Attributes:
        files: the directory.
        spec: what was run; None without ``config.toml``.
        metrics: one mapping per epoch, oldest first.
        state: running, done, interrupted, failed; empty without ``status.json``.
        evaluation: None without ``evaluation.json``.
    """

    files: RunDir
    spec: RunSpec | None
    metrics: tuple[dict[str, Any], ...]
    state: str
    evaluation: Evaluation | None

    @property
    def estimator(self) -> str:
        """Name of the estimator it was trained with; empty if unknown."""
        return self.spec.estimator.name if self.spec else ""


@dataclass(frozen=True)
class Collected:
    """Everything found.

    Attributes:
        runs: the run directories, in the order of the paths given.
        readings: all measurement tables one under the other, with the path of each in the column ``source``.
    """

    runs: tuple[Run, ...]
    readings: pd.DataFrame


def collect(paths: Sequence[Path]) -> Collected:
    """Load the runs and tables at some paths.

    Args:
        paths: run directories, folders that hold some at any depth, or ``*.parquet`` tables.

    Raises:
        ResultsError: a path leads nowhere, there is nothing at any of them, or a file is damaged or of a newer schema.
        SpecError: a ``config.toml`` is not valid.
    """
    found = list({place.resolve(): place for path in paths for place in _places(path)}.values())
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise ResultsError(where, "no run directory and no table there", "train one with 'snrkit train' first")
    runs = [_read_run(RunDir(place)) for place in found if place.is_dir()]
    tables = [RunDir(place).snr if place.is_dir() else place for place in found]
    # A run's table may have been given by itself too.
    sources = {table.resolve(): table for table in tables if table.exists()}
    return Collected(tuple(runs), _read_readings(list(sources.values())))


def _places(path: Path) -> Iterator[Path]:
    """Run directories and loose tables at or below a path, in sorted order."""
    if not path.exists():
        raise ResultsError(str(path), "does not exist", "give a run directory, a folder of them or a .parquet table")
    if not path.is_dir():
        if path.suffix != ".parquet":
            raise ResultsError(str(path), "is no .parquet table", "give the run directory it lies in")
        yield path
        return
    for folder, below, files in os.walk(path):
        if _is_run(files):
            below.clear()
            yield Path(folder)
            continue
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if _is_table(name))


def _is_table(name: str) -> bool:
    # Kept draws lie beside the table that they belong to.
    return name.endswith(".parquet") and not name.endswith(".draws.parquet") and not name.startswith(".")


def _is_run(files: Sequence[str]) -> bool:
    here = RunDir(Path())
    names = {file.name for file in (here.config, here.metrics, here.status, here.snr, here.evaluation)}
    return not names.isdisjoint(files)


def _read_run(files: RunDir) -> Run:
    status = read_json(files.status) if files.status.exists() else {}
    state = str(status.get("state", "")) if isinstance(status, dict) else ""
    evaluation = _read_evaluation(files.evaluation) if files.evaluation.exists() else None
    return Run(files, _read_spec(files.config), tuple(files.read_metrics()), state, evaluation)


def _read_spec(path: Path) -> RunSpec | None:
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(str(path), f"cannot be read ({error.__class__.__name__})", "train the run again") from None
    return RunSpec.from_toml(text, str(path))


def _read_evaluation(path: Path) -> Evaluation:
    again = "evaluate again with 'snrkit evaluate'"
    content = read_json(path)
    try:
        schema = int(content["schema"])
        if schema > EVALUATION_SCHEMA:
            raise ResultsError(str(path), f"schema {schema} is newer than {EVALUATION_SCHEMA}", "update snrkit")
        scores = tuple(
            Score(str(row["metric"]), float(row["value"]), float(row["stderr"]), str(row["definition"]))
            for row in content["rows"]
        )
        numbers = (int(content[key]) for key in ("step", "points", "samples"))
        step, points, samples = numbers
        return Evaluation(step, str(content["data"]), points, samples, scores)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(str(path), f"not an evaluation ({error.__class__.__name__}: {error})", again) from None


def _read_readings(sources: Sequence[Path]) -> pd.DataFrame:
    tables = [read_table(source).assign(source=str(source)) for source in sources]
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=[*COLUMNS, "source"])
