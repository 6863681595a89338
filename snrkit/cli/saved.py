"""A saved run as the measuring commands need it: its model, and its test points."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from snrkit.backend.device import select_device
from snrkit.data import OWN, load
from snrkit.data.base import Dataset
from snrkit.errors import CheckpointError, DataError, SpecError
from snrkit.evaluation.points import named_points
from snrkit.models.base import LatentModel
from snrkit.runs.checkpoint import find_checkpoint, find_checkpoints, load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.opening import require_same_data

# Runs of a folder that a message names.
_NAMED = 8

__all__ = ["Saved", "find_checkpoints", "open_saved"]


@dataclass(frozen=True)
class Saved:
    """A checkpoint, opened.

    Attributes:
        run: the directory that it lies in.
        spec: its resolved spec; options of the estimator that change in training are those of the checkpoint.
        file: the checkpoint file.
        step: optimiser steps done.
        model: the model, on the device asked for.
        dataset: the run's data.
        device: that device.
    """

    run: RunDir
    spec: RunSpec
    file: Path
    step: int
    model: LatentModel
    dataset: Dataset
    device: torch.device

    @property
    def is_loose(self) -> bool:
        """Whether the checkpoint is neither a run's latest nor one kept along the way: a file under a name of its own."""
        return self.file.name != self.run.checkpoint.name and self.file.parent != self.run.steps

    @property
    def name(self) -> str:
        """What results are to call the run."""
        return self.file.stem if self.is_loose else self.run.name

    @property
    def table(self) -> Path:
        """Where gradient measurements go: to the run's table, which holds all its steps."""
        return self.beside("snr.parquet") if self.is_loose else self.run.snr

    def beside(self, name: str) -> Path:
        """Where a result on this checkpoint goes: in the run directory, or beside a checkpoint with a name of its own."""
        return self.run.path / name if self.file == self.run.checkpoint else self.file.with_suffix(f".{name}")

    def test_points(self, count: int | None) -> tuple[Tensor, str]:
        """See ``named_points``."""
        return named_points(self.dataset, self.spec, self.device, count)

    def on(self, name: str, data_dir: Path | None) -> Self:
        """The same run with the test set of other data, binarised as the run's own.

        Raises:
            DataError, SpecError: no such data, or its points do not fit the model.
        """
        if name in OWN:
            raise SpecError(
                "--data", f"{name} needs a file, and none can be named here", "choose data with a name of its own"
            )
        data = self.spec.data.model_copy(update={"name": name, "path": None, "train_limit": None})
        dataset = load(data, data_dir)
        own, other = (found.test.shape[1] for found in (self.dataset, dataset))
        if own != other:
            problem = f"has points of {other} numbers, and the run was trained on {own}"
            raise DataError(name, problem, "choose data of the same size")
        return replace(self, dataset=dataset, spec=self.spec.model_copy(update={"data": data}))


def open_saved(path: Path, data_dir: Path | None, device: str) -> Saved:
    """Open a checkpoint and its data.

    Raises:
        CheckpointError, DataError, SpecError: bad input.
    """
    where = select_device(device)
    _refuse_many(path)
    file = find_checkpoint(path)
    checkpoint = load_checkpoint(file)
    spec = checkpoint.spec_in_force()
    dataset = load(spec.data, data_dir)
    trained, found = checkpoint.data_mean.shape[0], dataset.train.shape[1]
    if trained != found:
        problem = f"has points of {found} numbers, and the run was trained on {trained}"
        raise DataError(spec.data.path or spec.data.name, problem, "put the run's own data back, or train anew")
    require_same_data(checkpoint, dataset)
    # Checkpoints kept along the way lie in a folder of the run directory.
    home = file.parent.parent if file.parent.name == RunDir(file.parent.parent).steps.name else file.parent
    return Saved(RunDir(home), spec, file, checkpoint.step, checkpoint.restore_model(where), dataset, where)


def _refuse_many(path: Path) -> None:
    """A folder of runs is more than one run.

    Raises:
        CheckpointError: it is one; the runs in it are named.
    """
    if not path.is_dir() or RunDir(path).checkpoint.is_file():
        return
    inside = [place for place in sorted(path.iterdir()) if not place.name.startswith(".")]
    found = [
        place for place in inside if RunDir(place).checkpoint.is_file() or (place.is_file() and place.suffix == ".pt")
    ]
    if found:
        names = ", ".join(place.name for place in found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        problem = f"'{path}' holds {len(found)} runs or checkpoints ({names}), and this command takes one"
        raise CheckpointError("--ckpt", problem, f"give one of them, for example --ckpt {found[0]}")
