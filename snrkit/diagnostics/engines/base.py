"""What an engine is, and how many draws it takes at once."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from snrkit.core.backward import derivatives, hides_parameters, is_refusal
from snrkit.core.batches import Batch
from snrkit.core.objective import pull
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator
from snrkit.estimators.passes import bytes_per_sample

# Bytes that one pass may spend on per-draw gradients, and on what autograd saves of the samples. Chosen on a 2-core CPU,
# where larger passes are slower (fresh memory costs more than the arithmetic).
_GRADIENT_BUDGET = 48 * 2**20
_SAMPLE_BUDGET = 32 * 2**20
# Of what is free on a GPU a quarter is for both, and as much again for temporaries.
_SHARE = 8


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
    probe = bytes_per_sample(problem.model, estimator, problem.group(0), problem.like)
    share = budgets_in(_free_on(problem.device))
    samples = max(1, share * _SAMPLE_BUDGET // probe)
    if chunk is not None:
        return PassSize(chunk, samples)
    gradient = max(1, sum(parameter.nbytes for parameter in problem.parameters.values()))
    by_gradient = share * _GRADIENT_BUDGET // gradient
    return PassSize(max(1, min(by_gradient, samples // problem.samples_per_draw)), samples)


def budgets_in(free: int | None) -> int:
    """How many times a CPU's budgets fit into so many free bytes of a GPU, at least once; None: a CPU, once.

    A power of two, so that it is the same for about the same free memory.
    """
    if free is None:
        return 1
    return 1 << max(0, (free // _SHARE // (_GRADIENT_BUDGET + _SAMPLE_BUDGET)).bit_length() - 1)


def _free_on(device: torch.device) -> int | None:
    """Free bytes of a GPU, those included that torch holds and does not use; None of a CPU."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


class PlainGradients:
    """Draws by ordinary backward passes.

    Args:
        problem: what is drawn.
        estimator: the estimator.
    """

    def __init__(self, problem: Problem, estimator: Estimator) -> None:
        self._problem, self._wanted = problem, problem.wanted
        self._served, self._parts = estimator.objective.served(self._wanted), estimator.needs.parts
        # Of each value; asked of the first graph, for walking one takes as long as a small draw.
        self._hidden: list[bool] = []

    def of(self, x: Batch, noise: Tensor) -> list[Tensor]:
        """One draw of one group, data ``[Bg, *event]``, in the order of the layout."""
        try:
            return self._of(x, noise)
        except RuntimeError as error:
            if not is_refusal(error):
                raise
        self._hidden = [True] * len(self._served)  # a later graph may hold what the first one did not
        return self._of(x, noise)

    def _of(self, x: Batch, noise: Tensor) -> list[Tensor]:
        model, passes = self._problem.model, itertools.count()

        def derive(values: Sequence[Tensor], wanted: Sequence[Tensor], *, retain: bool) -> list[Tensor]:
            number = next(passes)
            if number == len(self._hidden):
                self._hidden.append(hides_parameters(values))
            return derivatives(model, values, wanted, retain=retain, hidden=self._hidden[number])

        found = pull(self._served, model(x, noise, **self._parts.asked), self._wanted, derive)
        return [gradient for network in self._wanted for gradient in found[network]]


def plain_gradient(problem: Problem, estimator: Estimator, x: Batch, noise: Tensor) -> list[Tensor]:
    """One draw of one group by ordinary backward passes, in the order of the layout."""
    return PlainGradients(problem, estimator).of(x, noise)
