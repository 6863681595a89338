"""A model made ready to be measured, tried, and left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from snrkit.backend.kernels import full_precision, same_convolutions, uncached_autocast
from snrkit.backend.memory import keep_freed_memory
from snrkit.backend.shortage import shortage_told
from snrkit.core.batches import Batch, points
from snrkit.errors import SpecError
from snrkit.models.adopt import as_latent_model
from snrkit.models.base import LatentModel
from snrkit.models.blame import users_code
from snrkit.models.state import Snapshot, in_mode, unchanged, uncompiled
from snrkit.specs.base import Mode
from snrkit.trial.data import as_batch
from snrkit.trial.examine import examine
from snrkit.trial.findings import Findings


@dataclass(frozen=True)
class Subject:
    """A model and data, ready.

    Attributes:
        model: the model, in the mode asked for.
        x: data on its device; floating-point numbers in its type.
        findings: what the trial found.
        snapshot: the model's state as it came, in that mode.
        dtype: type of the parameters, and of the noise.
        device: where all is.
    """

    model: LatentModel
    x: Batch
    findings: Findings
    snapshot: Snapshot
    dtype: torch.dtype
    device: torch.device

    @property
    def points(self) -> int:
        """B, the number of data points."""
        return points(self.x)


@contextmanager
def standing(model: LatentModel, mode: Mode) -> Iterator[None]:
    """A model ready to be drawn from within the block, in full precision and with gradients; afterwards as before.

    Args:
        model: the model.
        mode: of its modules.

    Raises:
        ResourceError: memory ran out.
    """
    with (
        shortage_told(), unchanged(model), in_mode(model, mode), full_precision(), uncached_autocast(),
        torch.enable_grad(), uncompiled(), same_convolutions(),
    ):  # fmt: skip
        yield


@contextmanager
def opened(model: nn.Module, x: Any, mode: Mode) -> Iterator[Subject]:
    """A model ready to be drawn from within the block, in full precision, with gradients, and tried; afterwards as before.

    Args:
        model: a ``LatentModel``, any module with ``encode`` and ``log_joint``, or a wrapper of one.
        x: data ``[B, *event]``, as ``as_batch`` takes them.
        mode: of the model's modules.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError: as ``examine``, ``as_latent_model`` and ``as_batch`` raise.
        ResourceError: memory ran out.
    """
    keep_freed_memory()
    if torch.is_inference_mode_enabled():
        raise SpecError("torch.inference_mode", "gradients cannot be drawn within it", "measure outside of it")
    subject = as_latent_model(model)
    parameter = next(parameter for parameter in subject.parameters() if parameter.requires_grad)
    batch = as_batch(x, parameter.device, parameter.dtype)
    with standing(subject, mode):
        # In its mode, which every draw is to begin with.
        snapshot = Snapshot(subject)
        findings = examine(subject, batch, mode, snapshot)
        with users_code():
            yield Subject(subject, batch, findings, snapshot, parameter.dtype, parameter.device)


def tried(model: LatentModel, x: Batch, mode: Mode = "evaluation") -> Findings:
    """What a trial finds of a model, which is left as it is.

    Args:
        model: the model, on the device of x.
        x: data ``[B, *event]`` in the model's type.
        mode: of the model's modules.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError: as ``examine`` raises.
    """
    with shortage_told(), unchanged(model), in_mode(model, mode), torch.enable_grad(), uncompiled():
        return examine(model, x, mode)
