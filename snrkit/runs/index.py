"""How each of many runs stands, by its small files. Imports no torch, and pandas only for what it must."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snrkit import checksums
from snrkit.errors import DIVERGED, ResultsError, SnrkitError
from snrkit.files import read_bytes, read_json
from snrkit.runs.folder import STEPS, RunDir
from snrkit.runs.kinds.metrics import METRICS
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.lock import holder
from snrkit.runs.settings import Setting, of_run
from snrkit.specs.run import EstimatorSpec

if TYPE_CHECKING:  # it loads numpy
    from snrkit.types import Progress

STATES = ("new", "running", "interrupted", "done", "failed", "diverged", "unknown")
_METRIC, _BLOCK = "snr_mean", "inference"
# First what tells readings apart, then the fields of ``Signal``.
_READ = ["estimator", "block", "metric", "options", "value", "stderr", "floor", "M", "K", "step"]


@dataclass(frozen=True)
class Signal:
    """The SNR of the inference network's gradient (``snr_mean``), as it was measured last.

    Attributes:
        value: the reading.
        stderr: its standard error.
        floor: what pure noise would read.
        M: outer samples: the run's own, or the nearest that were measured.
        K: importance samples, likewise.
        step: optimiser steps done at the time.
    """

    value: float
    stderr: float
    floor: float
    M: int
    K: int
    step: int


@dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
        path: its directory.
        state: one of ``STATES``; new: nothing trained yet; running: a process is at work on it.
        why: the reason of a failure, or what of it cannot be read.
        settings: by their dotted names; empty where ``config.toml`` cannot be read.
        epoch: finished epochs.
        epochs: of the specification; None: not known.
        bound: of the last finished epoch, nats.
        snr: see ``Signal``; None: not measured.
        changed: when one of its files was last written, seconds since 1970.
        size: of all its files, bytes.
    """

    path: Path
    state: str
    why: str
    settings: Mapping[str, Setting] = field(repr=False)
    epoch: int
    epochs: int | None
    bound: float | None
    snr: Signal | None
    changed: float
    size: int


def standings(paths: Sequence[Path], progress: "Progress" = lambda *_: None) -> list[Standing]:
    """Every run at or below some paths, each once, in sorted order. Links to folders are not followed.

    Args:
        paths: run directories, or folders that hold some.
        progress: called with (done, total, note).

    Raises:
        ResultsError: a path leads nowhere, or there is no run at any of them.
    """
    folders = {folder.resolve(): folder for path in paths for folder in run_folders(path)}
    if not folders:
        where = ", ".join(str(path) for path in paths)
        raise ResultsError(where, "no run there", "give a run directory of 'snrkit train', or a folder of them")
    found = []
    for folder in folders.values():
        found.append(standing(folder))
        progress(len(found), len(folders), "reading")
    return found


def standing(folder: Path) -> Standing:
    """How a run stands; what cannot be read is said in ``why``."""
    run, problems, known = RunDir(folder), list[str](), dict[str, Setting]()
    own, epochs, last, signal = None, None, dict[str, Any](), None
    try:
        spec, known = of_run(folder)
        own, epochs = spec.estimator, spec.epochs
    except SnrkitError as error:
        problems.append(str(error))
    try:
        last = METRICS.last(run.metrics)
        signal = None if own is None else _signal(run.snr, own)
    except ResultsError as error:
        problems.append(str(error))
    changed, size = _size(folder)
    state, why = _state(run, bool(last))
    bound = last.get("bound")
    return Standing(
        folder, state, "; ".join(filter(None, [why, *problems])), known, last.get("epoch", 0), epochs,
        float(bound) if isinstance(bound, int | float) and math.isfinite(bound) else None, signal, changed, size,
    )  # fmt: skip


def run_folders(path: Path) -> Iterator[Path]:
    """The run directories at or below a folder, in sorted order.

    Raises:
        ResultsError: it is none.
    """
    if not path.is_dir():
        raise ResultsError(str(path), "is no folder", "give a run directory, or a folder of them")
    for folder, below, files in os.walk(path):
        if {"config.toml", "status.json"} & set(files):
            yield Path(folder)
            below.clear()
        below[:] = sorted(name for name in below if name[0] != "." and name != STEPS and not name.endswith(".partial"))


def _state(run: RunDir, is_begun: bool) -> tuple[str, str]:
    """How a run stands, and why."""
    try:
        status = read_json(run.status) if run.status.exists() else {}
        told, why, code = str(status.get("state", "")), str(status.get("why", "")), status.get("code")
    except (ResultsError, AttributeError) as error:
        return "unknown", f"status.json: {error}"
    if told == "done":
        return "done", ""
    if holder(run.path) is not None:
        return "running", ""
    if told == "failed":
        return "diverged" if code == DIVERGED else "failed", why
    if told in ("running", "interrupted"):
        # Of one that says that it is running the process was killed.
        return "interrupted", "" if told == "running" else why
    return ("unknown", "no status.json") if is_begun or run.checkpoint.exists() else ("new", "")


def _signal(path: Path, own: EstimatorSpec) -> Signal | None:
    """The reading of a run's own estimator at its own M and K, or the nearest to them, at the last step.

    Raises:
        ResultsError: the table is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = read_bytes(path)
    except OSError:
        return None
    try:
        checksums.verify(content)
        table = pq.ParquetFile(pa.BufferReader(content)).read(columns=_READ, use_threads=False)
        # As Python's own values: pyarrow.compute would load pandas, and take longer over so few rows.
        columns = [table[name].to_pylist() for name in _READ]
    except Exception as error:  # whatever Arrow makes of arbitrary bytes
        raise SNR.error(path, f"cannot be read ({error.__class__.__name__})") from None
    wanted = (own.name, _BLOCK, _METRIC)
    found = [Signal(*row[4:]) for row in zip(*columns, strict=True)
             if row[:3] == wanted and _has_options(row[3], own) and _is_number(row[4])]  # fmt: skip
    nearest = lambda one: (-one.step, abs(math.log(one.K / own.K)), abs(math.log(one.M / own.M)))  # noqa: E731
    return min(found, key=nearest, default=None)


def _has_options(read: str, own: EstimatorSpec) -> bool:
    """Whether a reading is at the options that a run was trained with; those that are learnt or annealed may be anywhere."""
    there = {name: value for name, _, value in (text.partition("=") for text in read.split(", "))}
    fixed = {name: value for name, value in own.options.items() if isinstance(value, int | float)}
    return all(name not in there or float(there[name]) == value for name, value in fixed.items())


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _size(folder: Path) -> tuple[float, int]:
    """When a file in a folder was last written, and the bytes of all."""
    changed, size = 0.0, 0
    for place, _, files in os.walk(folder):
        for name in files:
            try:
                found = Path(place, name).lstat()
            except OSError:
                continue  # another process took it away
            changed, size = max(changed, found.st_mtime), size + found.st_size
    return changed, size
