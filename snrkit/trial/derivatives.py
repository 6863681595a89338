"""Whether a proposal's samples are differentiable in its parameters, and the derivative is the true one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from snrkit.backend.kernels import Casts
from snrkit.core.backward import hides_parameters
from snrkit.core.batches import Batch
from snrkit.models.base import LatentModel
from snrkit.trial.calls import Caller, Tensors, sample

# Step of the differences, and the largest relative error of a right derivative, by the narrowest type that z is computed in.
# Right: 6e-10. One of 4,096 coordinates detached: 8e-3. Half precision tells nothing.
_STEPS = {torch.float64: (1e-6, 1e-3), torch.float32: (5e-3, 2e-2)}
# Coordinates of z at which plain backward passes are asked where second derivatives say that something is wrong.
_COORDINATES = 64


@dataclass(frozen=True)
class Derivative:
    """What was found.

    Attributes:
        right: the samples' graph is their derivative; None where nothing in the proposal is trained.
        why: what is wrong with it; empty if nothing is.
        error: relative distance of the two, where they differ.
    """

    right: bool | None
    why: str = ""
    error: float | None = None


def examine_derivative(caller: Caller) -> Derivative:
    """Compare the derivative of z along a random direction of the parameters with differences, in float64."""
    tensors: Tensors = dict(caller.double)
    for name in caller.trained:
        tensors[name] = tensors[name].clone().requires_grad_()
    wanted = [tensors[name] for name in caller.trained]
    kind = narrowest(caller)
    if kind not in _STEPS:
        name = str(kind).removeprefix("torch.")
        return Derivative(None, f"could not be tried (the proposal is computed in {name} whatever it is given)")
    step, true = _STEPS[kind]
    directions = _directions(wanted)
    found = _compare(caller, tensors, directions, step, true)
    if found.right is not False or found.error is None:
        return found
    # Where a parameter holds a sign or a count, z jumps as it moves: that one says nothing.
    jumps = [_jumps(caller, tensors, directions, i, step) for i in range(len(directions))]
    if not any(jumps):
        return found
    rest = [torch.zeros_like(u) if jump else u for u, jump in zip(directions, jumps, strict=True)]
    return _compare(caller, tensors, rest, step, true)


def _compare(caller: Caller, tensors: Tensors, directions: list[Tensor], step: float, true: float) -> Derivative:
    wanted = [tensors[name] for name in caller.trained]
    differences, bent = _differences(caller, tensors, directions, step)

    def along(model: LatentModel, x: Batch, noise: Tensor) -> float | Derivative:
        # Within the call, since a checkpointed layer is computed again, from the tensors that the model then has.
        z, log_q = sample(model, x, noise)
        if hides_parameters([z]):
            return Derivative(None, "could not be tried (a reentrant checkpoint hides the proposal's parameters)")
        if not z.requires_grad:
            found = torch.autograd.grad(log_q.sum(), wanted, allow_unused=True) if log_q.requires_grad else []
            moving = any(gradient is not None for gradient in found)
            return (
                Derivative(False, "its samples have no graph, and its density has one") if moving else Derivative(None)
            )
        return _error(z, wanted, bent, differences, true)

    with torch.enable_grad():
        error = caller.exact(along, tensors, caller.x, caller.noise)
    if isinstance(error, Derivative):
        return error
    if not error <= true:
        why = f"the graph of its samples is not their derivative (relative distance {error:.2g})"
        return Derivative(False, why, error)
    return Derivative(True)


def _error(z: Tensor, wanted: list[Tensor], directions: list[Tensor], differences: Tensor, true: float) -> float:
    """Relative distance of J u and the differences."""
    target = differences.flatten()
    try:
        slope = _forward(z, wanted, directions).flatten()
    except Exception:  # of a function that can be differentiated only once
        return _error_of_first(z, wanted, directions, target, torch.arange(z.numel(), device=z.device))
    scale = float(slope.norm() + target.norm())
    error = float((slope - target).norm()) / scale if scale > 0 else 0.0
    if error <= true:
        return error
    # A backward pass that cannot be differentiated itself may be right all the same: seen where the two are furthest apart.
    worst = (slope - target).abs().argsort(descending=True)
    return min(error, _error_of_first(z, wanted, directions, target, worst[:_COORDINATES]))


def _error_of_first(
    z: Tensor, wanted: list[Tensor], directions: list[Tensor], target: Tensor, coordinates: Tensor
) -> float:
    """The same of single coordinates of z, as plain backward passes have them."""
    flat, found = z.flatten(), torch.zeros_like(target)
    for i in coordinates.tolist():
        rows = torch.autograd.grad(flat[i], wanted, allow_unused=True, retain_graph=True)
        found[i] = sum(float((row * u).sum()) for row, u in zip(rows, directions, strict=True) if row is not None)
    scale = float(found[coordinates].norm() + target[coordinates].norm())
    return float((found - target)[coordinates].norm()) / scale if scale > 0 else 0.0


def _jumps(caller: Caller, tensors: Tensors, directions: list[Tensor], index: int, step: float) -> bool:
    """Whether z moves as far in a hundredth of the step, along one parameter."""
    alone = [u if i == index else torch.zeros_like(u) for i, u in enumerate(directions)]
    far, near = (float(_differences(caller, tensors, alone, h)[0].norm()) * h for h in (step, step / 100))
    return near > far / 10 > 0


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


def narrowest(caller: Caller) -> torch.dtype:
    """The narrowest type that the model itself casts to on the way to z, in float64 where it does not."""
    with torch.no_grad(), Casts() as casts:
        caller.exact(sample, caller.double, caller.x, caller.noise)
    found = [torch.float64]
    for dtype in found:  # which grows: a cast may follow another
        found += [other for other in casts.of(dtype) if other not in found]
    return max(found, key=lambda dtype: float(torch.finfo(dtype).eps))


def _differences(
    caller: Caller, tensors: Tensors, directions: list[Tensor], step: float
) -> tuple[Tensor, list[Tensor]]:
    """Differences of z, and the directions that they are along: a model that masks its weights in place bends them."""

    def at(signed: float) -> tuple[Tensor, list[Tensor]]:
        moved = {name: tensors[name].detach() + signed * u for name, u in zip(caller.trained, directions, strict=True)}
        return caller.exact(sample, {**caller.double, **moved}, caller.x, caller.noise)[0].double(), list(
            moved.values()
        )

    with torch.no_grad():
        (high, above), (low, below) = at(step), at(-step)
        return (high - low) / (2 * step), [(a - b) / (2 * step) for a, b in zip(above, below, strict=True)]
