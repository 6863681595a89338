"""Whether samples are distributed as a density says: the score's mean is 0, that of its square the curvature."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from snrkit.trial.calls import Caller, Tensors
from snrkit.trial.derivatives import narrowest

# Relative step of the differences, and distances in standard errors: of the score, and of squares, which have heavier tails.
_STEP, _FAR = 1e-3, (6.0, 10.0)
# Parameter tensors that are moved, one at a time, and the least spread that is no rounding.
_MOVED, _LEAST = 8, 1e-9
# Samples of each data point, and numbers in all of them.
_FEWEST, _MOST, _NUMBERS = 500, 5000, 200_000


def broken(density: Callable[[Tensors], Tensor], caller: Caller) -> str:
    """The parameter in which the mean of log-density derivatives is not what it must be; empty if none is.

    Args:
        density: log densities of samples that stay, one each, in float64, with tensors in place of the model's own.
        caller: of the model.
    """
    with torch.no_grad():
        middle = density(caller.double).flatten()
        for number, name in enumerate(caller.trained[:_MOVED]):
            own = caller.double[name]
            size = max(float(own.abs().mean()) if own.numel() else 0.0, 1e-2)
            generator = torch.Generator().manual_seed(number)
            step = _STEP * size * torch.randn(own.shape, generator=generator, dtype=own.dtype).to(own.device)
            # In some direction, and all the same way.
            if any(_wrong_along(density, caller, name, direction, middle) for direction in (step, step.abs())):
                return name
    return ""


def _wrong_along(density: Callable[[Tensors], Tensor], caller: Caller, name: str, step: Tensor, middle: Tensor) -> bool:
    def at(share: float) -> Tensor:
        return density({**caller.double, name: caller.double[name] + share * step}).flatten()

    high, low = at(1), at(-1)
    score, bend = (high - low) / (2 * _STEP), (high - 2 * middle + low) / _STEP**2
    found = (score, score.square() + bend)
    if not any(_far(values, limit) for values, limit in zip(found, _FAR, strict=True)):
        return False
    # Not where the density jumps as a parameter moves, or is computed in a narrower type.
    smooth = bool((at(0.01) - at(-0.01)).std() < 0.1 * (high - low).std())
    return smooth and narrowest(caller) == torch.float64


def many(size: int) -> int:
    """How many samples, each of so many numbers, are asked."""
    return min(max(_NUMBERS // max(size, 1), _FEWEST), _MOST)


def _far(values: Tensor, limit: float) -> bool:
    """Whether the mean is further from 0 than chance allows."""
    error = float(values.std()) / math.sqrt(len(values))
    return abs(float(values.mean())) > limit * error + _LEAST
