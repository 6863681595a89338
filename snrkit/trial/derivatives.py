"""Whether a proposal's samples are differentiable in its parameters, and the derivative is the true one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from snrkit.backward import hides_parameters
from snrkit.batches import Batch
from snrkit.models.base import LatentModel
from snrkit.trial.calls import Caller, Tensors, sample

_STEP = 1e-6
# Right: 6e-10. One of 4,096 coordinates detached: 8e-3.
_TRUE = 1e-3


@dataclass(frozen=True)
class Derivative:
    """What was found.

    Attributes:
        right: the samples' graph is their derivative; None where nothing in the proposal is trained.
        why: what is wrong with it; empty if nothing is.
    """

    right: bool | None
    why: str = ""


def examine_derivative(caller: Caller) -> Derivative:
    """Compare the forward derivative of z along a random direction of the parameters with differences, in float64."""
    tensors: Tensors = dict(caller.double)
    for name in caller.trained:
        tensors[name] = tensors[name].clone().requires_grad_()
    wanted = [tensors[name] for name in caller.trained]
    directions = _directions(wanted)

    def along(model: LatentModel, x: Batch, noise: Tensor) -> Tensor | Derivative:
        # Within the call, since a checkpointed layer is computed again, from the tensors that the model then has.
        z, log_q = sample(model, x, noise)
        if hides_parameters([z]):
            return Derivative(None, "could not be tried (a reentrant checkpoint hides the proposal's parameters)")
        if z.requires_grad:
            return _forward(z, wanted, directions)
        found = torch.autograd.grad(log_q.sum(), wanted, allow_unused=True) if log_q.requires_grad else []
        moving = any(gradient is not None for gradient in found)
        return Derivative(False, "its samples have no graph, and its density has one") if moving else Derivative(None)

    with torch.enable_grad():
        slope = caller.exact(along, tensors, caller.x, caller.noise)
    if isinstance(slope, Derivative):
        return slope
    differences = _differences(caller, tensors, directions)
    scale = float(slope.norm() + differences.norm())
    error = float((slope - differences).norm()) / scale if scale > 0 else 0.0
    if not error <= _TRUE:
        return Derivative(False, f"the graph of its samples is not their derivative (relative distance {error:.2g})")
    return Derivative(True)


def _directions(wanted: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for tensor in wanted:
        size = max(float(tensor.detach().abs().mean()) if tensor.numel() else 0.0, 1e-2)
        found.append(size * torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.device))
    return found


def _forward(z: Tensor, wanted: list[Tensor], directions: list[Tensor]) -> Tensor:
    """J u by two backward passes: the gradient of v -> v J u."""
    v = torch.zeros_like(z).requires_grad_()
    rows = torch.autograd.grad(z, wanted, v, create_graph=True, allow_unused=True)
    pairs = [(row * u).sum() for row, u in zip(rows, directions, strict=True) if row is not None and row.requires_grad]
    if not pairs:
        return torch.zeros_like(z)
    (along,) = torch.autograd.grad(torch.stack(pairs).sum(), v, allow_unused=True)
    return torch.zeros_like(z) if along is None else along


def _differences(caller: Caller, tensors: Tensors, directions: list[Tensor]) -> Tensor:
    def at(step: float) -> Tensor:
        moved = {name: tensors[name].detach() + step * u for name, u in zip(caller.trained, directions, strict=True)}
        return caller.exact(sample, {**caller.double, **moved}, caller.x, caller.noise)[0]

    with torch.no_grad():
        return (at(_STEP) - at(-_STEP)) / (2 * _STEP)
