"""What an engine is, and how many draws it takes at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator, gradients

# Bytes that one pass may spend on per-draw gradients, and on what autograd saves of the samples. Chosen on a 2-core CPU,
# where larger passes are slower (fresh memory costs more than the arithmetic).
_GRADIENT_BUDGET = 48 * 2**20
_SAMPLE_BUDGET = 32 * 2**20


@dataclass(frozen=True)
class PassSize:
    """How much one pass holds.

    Attributes:
        units: draws of one group at once, at least 1.
        samples: importance samples at once, at least 1; a single draw with more is taken in parts.
    """

    units: int
    samples: int

    def bounded(self, samples: int | None) -> "PassSize":
        """The same with at most so many samples at once, and draws in proportion; None changes nothing."""
        if samples is None or samples >= self.samples:
            return self
        return PassSize(max(1, self.units * samples // self.samples), samples)


class Engine(Protocol):
    """Computes gradient draws."""

    name: str

    def gradients(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> Iterator[list[Tensor]]:
        """Portions of consecutive draws of the given groups.

        Yields:
            Per parameter tensor of the layout, ``[r, len(groups), *shape]``: ascent directions of r draws.
        """

    def moments(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> PointMoments:
        """Moments over the given draws of each of the groups."""

    def serving(self, problem: Problem, estimator: Estimator) -> dict[str, str]:
        """Name of each parameter to the engine that computes its moments."""


def accumulate(portions: Iterable[Sequence[Tensor]]) -> PointMoments:
    """The moments of portions of draws as ``Engine.gradients`` yields them."""
    moments = PointMoments()
    for gradients_ in portions:
        moments.add(gradients_)
    return moments


def pass_size(problem: Problem, estimator: Estimator, chunk: int | None) -> PassSize:
    """A pass that stays within the memory budgets: a function of shapes and types, and on CUDA of the free memory.

    Args:
        problem: what is drawn.
        estimator: the estimator.
        chunk: draws at once; None chooses.
    """
    probe = _saved_bytes_per_sample(problem, estimator)
    share = _share_of_device(problem.x.device)
    samples = max(1, share * _SAMPLE_BUDGET // probe)
    if chunk is not None:
        return PassSize(chunk, samples)
    by_gradient = share * _GRADIENT_BUDGET // (problem.layout.size * problem.x.element_size())
    return PassSize(max(1, min(by_gradient, samples // problem.samples_per_draw)), samples)


def _share_of_device(device: torch.device) -> int:
    """How many times the budgets of a CPU: a power of two, so that it is the same for about the same free memory."""
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    # A quarter of what is free, for both budgets and as much again for temporaries.
    return 1 << max(0, (free // 8 // (_GRADIENT_BUDGET + _SAMPLE_BUDGET)).bit_length() - 1)


def _saved_bytes_per_sample(problem: Problem, estimator: Estimator) -> int:
    """Bytes that a backward pass keeps for one more importance sample, found by two tiny passes."""
    few, many = (_saved_bytes(problem, estimator, K) for K in (2, 10))
    return max(1, (many - few) // 8)


def _saved_bytes(problem: Problem, estimator: Estimator, K: int) -> int:
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    x = problem.x[0, :1]
    noise = x.new_zeros(1, 1, K, *problem.model.noise_shape(x))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        weights = problem.model(x, noise, path=estimator.path)
        estimator.surrogate(weights)
    return sum(seen.values())


def plain_gradient(problem: Problem, estimator: Estimator, x: Tensor, noise: Tensor) -> list[Tensor]:
    """One draw of one group by ordinary backward passes, in the order of the layout."""
    parameters = list(problem.parameters.values())
    inference = sum(network == "inference" for network in problem.layout.networks)
    weights = problem.model(x, noise, path=estimator.path)
    generative, phi = gradients(estimator, weights, parameters[inference:], parameters[:inference])
    return [*phi, *generative]
