"""A saved run as the measuring commands need it: its model, and its test points."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from snrkit.config import RunSpec
from snrkit.data import load
from snrkit.data.base import Dataset
from snrkit.data.binarise import test_points
from snrkit.errors import SpecError
from snrkit.models.base import LatentModel
from snrkit.results import RunDir
from snrkit.training.checkpoint import find_checkpoint, load_checkpoint
from snrkit.training.device import select_device


@dataclass(frozen=True)
class Saved:
    """A checkpoint, opened.

    Attributes:
        run: the directory that it lies in.
        spec: its resolved spec.
        step: optimiser steps done.
        model: the model, on the device asked for.
        dataset: the run's data.
        device: that device.
    """

    run: RunDir
    spec: RunSpec
    step: int
    model: LatentModel
    dataset: Dataset
    device: torch.device

    def test_points(self, count: int | None) -> tuple[Tensor, str]:
        """The first ``count`` test points (None: all), binarised as the spec says, and a label that names them.

        Raises:
            SpecError: there are not that many.
        """
        available = len(self.dataset.test)
        if count is not None and count > available:
            raise SpecError("data points", f"{count} asked for, and the test set has {available}", "ask for fewer")
        stop = available if count is None else count
        dtype: torch.dtype = getattr(torch, self.spec.dtype)
        x = test_points(self.dataset, self.spec.data, dtype, self.device, slice(0, stop))
        data = self.spec.data
        return x, f"{data.name}:test[0:{stop}] {data.binarise} seed {data.seed}"


def open_saved(path: Path, data_dir: Path | None, device: str) -> Saved:
    """Open a checkpoint and its data.

    Raises:
        CheckpointError, DataError, SpecError: bad input.
    """
    where = select_device(device)
    file = find_checkpoint(path)
    checkpoint = load_checkpoint(file)
    spec = checkpoint.run_spec()
    dataset = load(spec.data, data_dir)
    return Saved(RunDir(file.parent), spec, checkpoint.step, checkpoint.restore_model(where), dataset, where)
