"""The fast engine: a linear layer's gradient is a sum of outer products, so keep the factors.

Per draw r and layer, dW_r = sum_k d_rk a_rk^T with inputs a and output cotangents d. One forward and one backward pass
through the decoder serve many draws; squares are summed over tiles of draws (see ways.py), and the gradients of all draws
never exist at once. The encoder's moments follow from the cotangents of the proposal's parameters (see encoder.py).

Which parameters this serves is found out, not assumed: tiny problems are drawn both ways, and a parameter whose moments
differ (tied, used elsewhere, rows in another order, ...) is left to the vmap engine, or to the loop where vmap fails too.
So is everything where that is predicted to be faster (see cost.py).
"""

import math
from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from snrkit.backend.memory import out_of_memory
from snrkit.diagnostics.engines.base import PassSize, accumulate
from snrkit.diagnostics.engines.batched import batched_gradients
from snrkit.diagnostics.engines.cost import Task, task_of
from snrkit.diagnostics.engines.layers import FEW, Pair, encoder_of, factor_moments
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.probe import (
    DRAWS,
    SIZE,
    Trial,
    probes,
    restricted,
    truth,
    try_vmap,
)
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.engines.ways import Way, way_of
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator
from snrkit.models.base import LatentModel

# Largest relative distance in norm at which the probe takes two moments for the same.
_AGREEMENT = {torch.float32: 1e-3, torch.float64: 1e-8}
# With fewer draws than this, to find out takes longer than to draw.
_FEWEST_DRAWS = 12
# The loop must be predicted to be this much faster than vmap, whose price is the less certain.
_CLEARLY = 0.75

State = list[tuple[bool, int]]
Key = tuple[Estimator, int, int, int, bool]


class Plans:
    """What was found of one model: which parameters factors reach, whether vmap works, what a draw takes, who serves.

    Args:
        way: how factors are summed; None: as is faster on the model's device.
    """

    def __init__(self, way: Way | None = None) -> None:
        self._way = way
        self.served: dict[Key, dict[str, str]] = {}
        self._reached: dict[tuple[Estimator, bool], set[str]] = {}
        self._trials: dict[tuple[Estimator, int, int, tuple[str, ...]], Trial] = {}
        self._tasks: dict[Key, Task] = {}

    def reached(self, problem: Problem, estimator: Estimator) -> set[str]:
        """Parameters that factors reach, where there are draws enough to find out."""
        # Groups of several points couple them; factors are per point.
        if problem.samples_per_draw > problem.K or problem.planned < _FEWEST_DRAWS:
            return set()
        key = estimator, problem.groups > FEW
        if key not in self._reached:
            self._reached[key] = _agreeing(problem, estimator, self._way or way_of(problem.device))
        return self._reached[key]

    def task(self, problem: Problem, estimator: Estimator) -> Task:
        """What one draw takes."""
        key = _key(problem, estimator)
        if key not in self._tasks:
            self._tasks[key] = task_of(problem, estimator)
        return self._tasks[key]

    def other(self, problem: Problem, estimator: Estimator) -> str:
        """The better of vmap and the loop."""
        key = estimator, problem.points_per_group, problem.M, problem.layout.names
        if key not in self._trials:
            self._trials[key] = try_vmap(problem, estimator)
        trial, task = self._trials[key], self.task(problem, estimator)
        works = not trial.wrong and _CLEARLY * task.vmap(trial.slow) <= task.loop()
        return VmapEngine.name if works else LoopEngine.name


class FactorEngine:
    """Moments from factors where the model allows it and it pays, from vmap or the loop where not.

    Args:
        way: how factors are summed; None: as is faster on the model's device.
    """

    name = "factors"

    def __init__(self, way: Way | None = None) -> None:
        self._way = way
        # By the model itself, weakly: an address is used again for another model once this one is gone.
        self._plans: WeakKeyDictionary[LatentModel, tuple[State, Plans]] = WeakKeyDictionary()

    def gradients(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> Iterator[list[Tensor]]:
        """Single draws are left to vmap or to the loop."""
        whole = problem.samples_per_draw <= size.samples and problem.seeded is None
        if whole and self._plans_of(problem.model).other(problem, estimator) == VmapEngine.name:
            return batched_gradients(problem, estimator, groups, draws, size)
        return LoopEngine().gradients(problem, estimator, groups, draws, size)

    def moments(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> PointMoments:
        """Moments over ``draws`` of each group."""
        if problem.samples_per_draw > size.samples:
            return accumulate(LoopEngine().gradients(problem, estimator, groups, draws, size))
        served = self.serving(problem, estimator)
        found: dict[str, Pair] = {}
        rest = tuple(name for name in problem.layout.names if served[name] != self.name)
        if rest:
            part = restricted(problem, rest)
            draw = batched_gradients if served[rest[0]] == VmapEngine.name else LoopEngine().gradients
            moments = accumulate(draw(part, estimator, groups, draws, size))
            found |= dict(zip(rest, zip(moments.mean, moments.m2, strict=True), strict=True))
        if len(rest) < len(problem.layout.names):
            way = self._way or way_of(problem.device)
            factors = factor_moments(problem, estimator, groups, draws, size, way)
            found |= {name: pair for name, pair in factors.items() if served[name] == self.name}
        pairs = [found[name] for name in problem.layout.names]
        return PointMoments(len(draws), [mean for mean, _ in pairs], [m2 for _, m2 in pairs])

    def serving(self, problem: Problem, estimator: Estimator) -> dict[str, str]:
        """Name of each parameter to what computes its moments: ``factors``, ``vmap`` or ``loop``."""
        names = problem.layout.names
        if problem.seeded is not None:
            return dict.fromkeys(names, LoopEngine.name)
        plans, key = self._plans_of(problem.model), _key(problem, estimator)
        if set(names) != set(plans.served.get(key, ())):
            plans.served[key] = self._choose(plans, problem, estimator)
        return plans.served[key]

    def prices(self, problem: Problem, estimator: Estimator) -> tuple[float, float]:
        """Predicted seconds of one draw of every group, and of one draw of all of their points together.

        Where factors serve everything, nothing is faster, and nothing is predicted.
        """
        served = set(self.serving(problem, estimator).values())
        if served == {self.name}:
            return 0.0, math.inf
        task = self._plans_of(problem.model).task(problem, estimator)
        whole = task.of_points(problem.groups)
        vmap = served != {LoopEngine.name}
        own = min(task.loop(), task.vmap()) if vmap else task.loop()
        return problem.groups * own, min(whole.loop(), whole.vmap()) if vmap else whole.loop()

    def _choose(self, plans: Plans, problem: Problem, estimator: Estimator) -> dict[str, str]:
        names, reached = problem.layout.names, plans.reached(problem, estimator)
        if reached:
            rest = [name for name in names if name not in reached]
            if not rest:
                # One pass for all. vmap, and to count operations, takes a second to load, and need not be tried.
                return dict.fromkeys(names, self.name)
            task, served = plans.task(problem, estimator), restricted(problem, reached).layout.size
            other = plans.other(restricted(problem, rest), estimator)
            if task.factors(served, *encoder_of(problem)) <= task.saved(served, other):
                return {name: self.name if name in reached else other for name in names}
        return dict.fromkeys(names, plans.other(problem, estimator))

    def _plans_of(self, model: LatentModel) -> Plans:
        """What was found of a model, as long as its parameters are what they were: a gate may have been opened since."""
        state = [(parameter.requires_grad, parameter._version) for parameter in model.parameters()]
        if model not in self._plans or self._plans[model][0] != state:
            self._plans[model] = state, Plans(self._way)
        return self._plans[model][1]


def _key(problem: Problem, estimator: Estimator) -> Key:
    return estimator, problem.K, problem.samples_per_draw, problem.planned, problem.groups > FEW


def _agreeing(problem: Problem, estimator: Estimator, way: Way) -> set[str]:
    """Parameters whose factor moments equal the loop's on tiny problems, each at one of a few data points.

    What happens at none of these points is not seen: a layer that only some other point's branch or gate uses again would
    be taken for an ordinary one.
    """
    needs, model = estimator.needs, problem.model
    # The proposal at dreams, and densities with other parameters, come by no tap.
    usual = type(model).forward is LatentModel.forward and model.independent_points
    usual = usual and not (needs.sleep or needs.regenerated)
    # The taps' products are not those of autocast.
    cast = torch.is_autocast_enabled(problem.device.type)
    if not usual or cast or problem.dtype not in _AGREEMENT:
        return set()
    names = set(problem.layout.names)
    for K in estimator.few_samples:
        shown: set[str] = set()
        for own in probes(problem, K):
            expected = truth(own, estimator)
            try:
                found = factor_moments(own, estimator, range(own.groups), DRAWS, SIZE, way)
            except Exception as error:  # a model's own code may raise anything; other engines are then left
                if out_of_memory(error):
                    raise
                return set()
            tolerance = _AGREEMENT[problem.dtype]
            names = {n for n in names if n in found and _near(found[n], expected[n], tolerance)}
            shown |= {n for n in names if expected[n][1].any()}
        # A gradient that vanishes at every point (a layer begun at zero) shows nothing.
        names &= shown
    return names


def _near(found: Pair, expected: Pair, tolerance: float) -> bool:
    return all(bool((a - b).norm() <= tolerance * b.norm()) for a, b in zip(found, expected, strict=True))
