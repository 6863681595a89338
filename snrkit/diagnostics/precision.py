"""A few draws in two precisions, which tells rounding from gradients; and in what precision a model computes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snrkit.backend.kernels import Casts
from snrkit.core.batches import Batch, on, points, take, transform
from snrkit.core.objective import NETWORKS, pull
from snrkit.diagnostics.moments import PointMoments, Rounding
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.rounding import Compared, Sizes, Unchecked
from snrkit.estimators.base import Estimator
from snrkit.models.base import FEW, LatentModel
from snrkit.models.calling import call_with, parameters_of, shown
from snrkit.types import Array

# What is examined: draws, data points, and at most so many outer and importance samples; all points where it matters.
_DRAWS, _POINTS, _OUTER, _SAMPLES = 4, 2, 2, 16

# (group, draw) to a context in which that draw is made.
Context = Callable[[int, int], AbstractContextManager[None]]


def examine(
    problem: Problem, estimator: Estimator, samples: int, context: Context = lambda *_: nullcontext()
) -> Rounding:
    """Compare a few draws of a problem in two precisions: float64 beside its own, or float32 beside float64.

    It is a function of the problem alone, and changes nothing: parameters and buffers are swapped for copies.

    Args:
        problem: what is drawn.
        estimator: the estimator.
        samples: importance samples that fit in one pass.
        context: in which each draw is made.
    """
    narrowest, name = _computed(problem.model, problem.group(0))
    eps = torch.finfo(narrowest).eps
    try:
        return _Examined(problem, estimator, samples, context, narrowest).compare(name)
    except Exception as error:  # a model's own code may raise anything in a type that it was not written for
        return Unchecked(eps, name, str(error).partition("\n")[0] or type(error).__name__)


class _Examined:
    """A problem whose draws are made in one precision or another."""

    def __init__(
        self, problem: Problem, estimator: Estimator, samples: int, context: Context, narrowest: torch.dtype
    ) -> None:
        self._problem, self._context, self._narrowest = problem, context, narrowest
        self._gradient = _Gradient(problem, estimator)
        self._types = (problem.dtype, torch.float32 if narrowest == torch.float64 else torch.float64)
        model, own = problem.model, problem.dtype
        self._parameters = {
            dtype: {f"model.{name}": _copy(parameter, own, dtype) for name, parameter in parameters_of(model).items()}
            for dtype in self._types
        }
        self._outer, points = min(problem.M, _OUTER), problem.points_per_group
        self._inner = min(problem.K, _SAMPLES, max(1, samples // (points * self._outer)))
        self._batch = max(1, samples // (points * self._outer * self._inner))

    def compare(self, name: str) -> Compared:
        """Sizes in both precisions: at a few data points, and over all of them where that matters.

        Raises:
            TypeError: the model computes in a type of its own.
        """
        groups, smallest = self._problem.groups, float(torch.finfo(self._narrowest).tiny)
        self._require_both()
        chosen = sorted({0, groups // 2})
        own, other = (self._sizes([[[group]] for group in chosen], dtype) for dtype in self._types)
        alike = Sizes(own.eps, own.rms, own.sd / groups**0.5), Sizes(other.eps, other.rms, other.sd / groups**0.5)
        found = Compared(own, other, alike, name, smallest)
        if groups <= _POINTS or not bool((found.zero | found.constant).any()):
            return found
        return Compared(own, other, self._over_all(), name, smallest)

    def _require_both(self) -> None:
        casts, other = Casts(), self._types[1]
        self._draw([0], 0, other, casts)
        if casts.of(other) or self._gradient.seen != other:
            raise TypeError("the model computes in a type of its own")

    def _over_all(self) -> tuple[Sizes, Sizes]:
        every, batch = range(self._problem.groups), self._batch
        try:
            own, other = (
                self._sizes([[list(every[i : i + batch]) for i in every[::batch]]], dtype) for dtype in self._types
            )
        except Exception:  # as above; a model need not take several points at once
            own, other = (self._sizes([[[group] for group in every]], dtype) for dtype in self._types)
        return own, other

    def _sizes(self, means: Sequence[Sequence[list[int]]], dtype: torch.dtype) -> Sizes:
        """Sizes over several means, each over the data points of some batches."""
        found = [self._draws(batches, dtype) for batches in means]
        centres, squares = ([_flat(getattr(part, kind)) for part in found] for kind in ("mean", "m2"))
        rms = np.sqrt(np.mean([np.square(m) + s / _DRAWS for m, s in zip(centres, squares, strict=True)], axis=0))
        sd = np.sqrt(np.mean(squares, axis=0) / (_DRAWS - 1))
        if not np.isfinite(rms).all():
            raise OverflowError(f"gradients are NaN or infinite in {str(dtype).removeprefix('torch.')}")
        return Sizes(torch.finfo(self._narrowest if dtype == self._problem.dtype else dtype).eps, rms, sd)

    def _draws(self, batches: Sequence[list[int]], dtype: torch.dtype) -> PointMoments:
        found, points = PointMoments(), sum(len(batch) for batch in batches)
        for draw in range(_DRAWS):
            total: list[Tensor] = []
            for batch in batches:
                share = [part.double() * (len(batch) / points) for part in self._draw(batch, draw, dtype)]
                total = [a + b for a, b in zip(total, share, strict=True)] if total else share
            found.add([part[None, None] for part in total])
        return found

    def _draw(
        self, groups: list[int], draw: int, dtype: torch.dtype, watch: AbstractContextManager[Any] | None = None
    ) -> list[Tensor]:
        """The gradient of the mean over the points of some groups."""
        problem = self._problem
        own, device = problem.dtype, problem.device
        held = problem.model.named_buffers()
        buffers = {f"model.{shown(name)}": _copy(buffer, own, dtype) for name, buffer in held}
        noise = torch.cat([self._noise(group, draw) for group in groups]).to(dtype)
        x = on(transform(problem.x, lambda tensor: tensor[groups].flatten(0, 1)), device, dtype)
        other = dtype != own
        with (
            torch.autocast(device.type, enabled=False) if other else nullcontext(),
            self._context(groups[0], draw),
            watch or nullcontext(),
        ):
            found: list[Tensor] = call_with(self._gradient, self._parameters[dtype] | buffers, x, noise)
        return found

    def _noise(self, group: int, draw: int) -> Tensor:
        """The first samples of a draw."""
        noise = self._problem.noise
        if noise.held:
            return noise.draw(group, range(draw, draw + 1))[0, :, : self._outer, : self._inner]
        return next(noise.portions(group, draw, self._inner))


class _Gradient(nn.Module):
    """The estimate as a module's forward pass: its backward pass, too, then happens while other tensors are swapped in.

    Attributes:
        seen: type of the last log-weights.
    """

    def __init__(self, problem: Problem, estimator: Estimator) -> None:
        super().__init__()
        self.model, self._layout, self._estimator = problem.model, problem.layout, estimator
        self.seen: torch.dtype | None = None

    def forward(self, x: Tensor, noise: Tensor) -> list[Tensor]:
        """The gradient per parameter, in the order of the layout."""
        named = parameters_of(self.model)
        parameters: list[Tensor] = [named[name] for name in self._layout.names]
        owners = self._layout.networks
        wanted = {
            network: [p for p, own in zip(parameters, owners, strict=True) if own == network] for network in NETWORKS
        }
        objective = self._estimator.objective
        weights = self.model(x, noise, **objective.needs.parts.asked)
        self.seen = weights.log_w.dtype
        found = pull(objective.served(), weights, wanted)
        return [gradient for network in NETWORKS for gradient in found[network]]


def _copy(tensor: Tensor, own: torch.dtype, dtype: torch.dtype) -> Tensor:
    """A copy in another type than the measurement's; in that, as it is: not all parameters need have it."""
    changed = dtype != own and tensor.is_floating_point()
    return tensor.detach().to(dtype if changed else tensor.dtype, copy=True).requires_grad_(tensor.requires_grad)


def _flat(tensors: Sequence[Tensor]) -> Array:
    return torch.cat([tensor.flatten() for tensor in tensors]).cpu().numpy()


def computed_in(model: LatentModel, x: Batch) -> str:
    """The precision that a model computes in: its own type, and a narrower one that autocast or its own code takes.

    Args:
        model: the model, in the caller's autocast if any.
        x: data ``[B, *event]``, in the model's type.
    """
    return _computed(model, x)[1]


def _computed(model: LatentModel, x: Batch) -> tuple[torch.dtype, str]:
    """The narrowest type and the name of the precision."""
    few = take(x, slice(0, FEW))
    parameter = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    own, device = parameter.dtype, parameter.device.type
    with torch.no_grad(), Casts() as casts:
        model(few, parameter.new_zeros(points(few), 1, 2, *model.noise_shape(few)))
    narrowest = max({own, *casts.of(own)}, key=lambda dtype: torch.finfo(dtype).eps)
    name, other = (str(dtype).removeprefix("torch.") for dtype in (own, narrowest))
    if narrowest == own:
        return own, name
    cause = "autocast" if torch.is_autocast_enabled(device) else "partly"
    return narrowest, f"{name} ({cause} {other})"
