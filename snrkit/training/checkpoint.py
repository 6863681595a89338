"""Checkpoints: tensors and plain types only, loaded without executing anything."""

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snrkit.config import RunSpec
from snrkit.errors import CheckpointError, SpecError
from snrkit.models.base import DataSummary, LatentModel, build_model
from snrkit.results import RunDir, atomic_path

FORMAT, VERSION = "snrkit-checkpoint", 1


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a run needs to go on, or a measurement to start.

    Random streams are functions of (seed, step), so the step is all of their state.

    Attributes:
        spec: the run's spec, as TOML.
        epoch: finished epochs.
        step: optimiser steps done.
        position: steps done within the unfinished epoch.
        running: sums over the unfinished epoch, for its metrics.
        model: the model's state.
        optimiser: the optimiser's state.
        data_mean: mean of the training data, ``[P]``.
        data_real: whether the data are real-valued.
    """

    spec: str
    epoch: int
    step: int
    position: int
    running: dict[str, float]
    model: dict[str, Tensor]
    optimiser: dict[str, Any]
    data_mean: Tensor
    data_real: bool

    def run_spec(self) -> RunSpec:
        """The spec, validated."""
        return RunSpec.from_toml(self.spec, "checkpoint")

    def restore_model(self, device: torch.device) -> LatentModel:
        """The model with the saved parameters.

        Raises:
            CheckpointError: the parameters do not fit the model that the spec names.
        """
        spec = self.run_spec()
        model = build_model(spec.model, DataSummary(self.data_mean, self.data_real), spec.seed)
        model.to(getattr(torch, spec.dtype))
        try:
            model.load_state_dict(self.model)
        except RuntimeError as error:
            problem = f"its parameters do not fit model {spec.model.name} ({str(error).splitlines()[0]})"
            raise CheckpointError("checkpoint", problem, "use the snrkit version that wrote it") from None
        return model.to(device)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    # asdict would copy every tensor; the fields are all that is wanted.
    content = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "version": VERSION, **content}, temporary)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint file meant by a file or a run directory.

    Raises:
        CheckpointError: there is none.
    """
    file = RunDir(path).checkpoint if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            "--ckpt", f"no checkpoint at '{path}'", "give a run.pt or a run directory of 'snrkit train'"
        )
    return file


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; nothing in the file is executed.

    Args:
        path: a checkpoint file or a run directory.

    Raises:
        CheckpointError: missing, damaged, not plain tensors, foreign, or of a newer format.
    """
    file = find_checkpoint(path)
    remedy = "give a run.pt written by 'snrkit train'"
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(str(file), "holds more than plain tensors and was not opened", remedy) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(str(file), f"damaged or no checkpoint ({error.__class__.__name__})", remedy) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(str(file), "not a checkpoint of snrkit", remedy)
    if content["version"] > VERSION:
        raise CheckpointError(str(file), f"format {content['version']} is newer than {VERSION}", "update snrkit")
    try:
        checkpoint = Checkpoint(**{name: content[name] for name in Checkpoint.__dataclass_fields__})
        checkpoint.run_spec()
    except (KeyError, TypeError, SpecError) as error:
        raise CheckpointError(str(file), f"incomplete ({error})", remedy) from None
    return checkpoint
