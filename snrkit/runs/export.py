"""A finished run in a form small enough to be committed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snrkit.files import write_bytes
from snrkit.runs.checkpoint import load_checkpoint, save_checkpoint
from snrkit.runs.folder import RunDir

_COPIED = ("config", "env", "status", "snr", "evaluation")
_DIGITS = 7


def export(run: RunDir, folder: Path) -> RunDir:
    """Write a run anew, without what only training needs.

    The copy can be measured, evaluated and reported like the run itself. Its weights are rounded to half precision (relative
    2^-11), so evaluate the run first where the last digits matter; evaluation and SNR tables that there are come along. Its
    metrics are rounded to 7 digits. The optimiser's state is left out, so it cannot be trained further.

    Args:
        run: a run with a checkpoint.
        folder: where the copy's directory goes, under the run's own name.

    Returns:
        The copy.

    Raises:
        CheckpointError, ResultsError: the run's files are damaged.
        OutputError: the copy cannot be written.
    """
    copy = RunDir(folder / run.name)
    checkpoint = load_checkpoint(run.checkpoint)
    half = {name: _half(value) for name, value in checkpoint.model.items()}
    save_checkpoint(copy.checkpoint, replace(checkpoint, model=half, optimiser={}))
    copy.write_metrics([{key: _short(value) for key, value in row.items()} for row in run.read_metrics()])
    for name in _COPIED:
        source: Path = getattr(run, name)
        if source.exists():
            write_bytes(getattr(copy, name), source.read_bytes())
    return copy


def _half(value: Tensor) -> Tensor:
    """In half precision, where that can hold it."""
    if not value.is_floating_point():
        return value
    half = value.half()
    return half if bool(torch.isfinite(half).all()) else value


def _short(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
