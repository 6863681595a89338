"""What an engine is, and how many draws it takes at once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from snrkit.core.backward import derivatives, hides_parameters, is_refusal
from snrkit.core.batches import Batch, points, take
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator

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
    share = _share_of_device(problem.device)
    samples = max(1, share * _SAMPLE_BUDGET // probe)
    if chunk is not None:
        return PassSize(chunk, samples)
    gradient = max(1, sum(parameter.nbytes for parameter in problem.parameters.values()))
    by_gradient = share * _GRADIENT_BUDGET // gradient
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
        # Kept, so that its address is not used again; without its graph, or an output would hold itself and never be freed.
        return tensor.detach()

    def measured(x: Batch) -> int:
        seen.clear()
        noise = torch.zeros(
            points(x), 1, K, *problem.model.noise_shape(x), dtype=problem.dtype, device=problem.device
        )  # fmt: skip
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            estimator.surrogate(problem.model(x, noise, path=estimator.path))
        return sum(seen.values()) // points(x)

    group = problem.group(0)
    try:
        return measured(take(group, slice(0, 1)))
    except Exception:  # a batch normalisation, for one, may want more than one point
        if points(group) == 1:
            raise
        return measured(take(group, slice(0, 2)))


class PlainGradients:
    """Draws by ordinary backward passes.

    Args:
        problem: what is drawn.
        estimator: the estimator.
    """

    def __init__(self, problem: Problem, estimator: Estimator) -> None:
        self._problem, self._estimator = problem, estimator
        self._parameters = list(problem.parameters.values())
        self._inference = sum(network == "inference" for network in problem.layout.networks)
        self._hidden: bool | None = None  # asked of the first graph; walking one takes as long as a small draw

    def of(self, x: Batch, noise: Tensor) -> list[Tensor]:
        """One draw of one group, data ``[Bg, *event]``, in the order of the layout."""
        try:
            return self._of(x, noise)
        except RuntimeError as error:
            if not is_refusal(error):
                raise
        self._hidden = True  # a later graph may hold what the first one did not
        return self._of(x, noise)

    def _of(self, x: Batch, noise: Tensor) -> list[Tensor]:
        weights = self._problem.model(x, noise, path=self._estimator.path)
        surrogate = self._estimator.surrogate(weights)
        theta, phi = surrogate.mean_over_points()
        if self._hidden is None:
            self._hidden = hides_parameters([theta, phi])
        model, parameters, hidden = self._problem.model, self._parameters, self._hidden
        if surrogate.shared:
            return derivatives(model, [theta], parameters, hidden=hidden)
        own, others = parameters[: self._inference], parameters[self._inference :]
        generative = derivatives(model, [theta], others, retain=True, hidden=hidden)
        return derivatives(model, [phi], own, hidden=hidden) + generative


def plain_gradient(problem: Problem, estimator: Estimator, x: Batch, noise: Tensor) -> list[Tensor]:
    """One draw of one group by ordinary backward passes, in the order of the layout."""
    return PlainGradients(problem, estimator).of(x, noise)
