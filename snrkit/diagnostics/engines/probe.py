"""Tiny problems on which other ways to draw are compared with the loop."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from snrkit.backend.memory import out_of_memory
from snrkit.core.batches import take
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize, accumulate
from snrkit.diagnostics.engines.batched import batched_gradients
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.problem import Layout, Problem
from snrkit.errors import SnrkitError
from snrkit.estimators.base import Estimator

Pair: TypeAlias = tuple[Tensor, Tensor]

# Draws; of one sample and of several, which take different paths, or as many as the estimator needs.
DRAWS = range(3)
SIZE = PassSize(len(DRAWS), 10**6)
# Data points at most; fewer where the model is large, so that so many coordinates are compared.
_POINTS, _COORDINATES = 8, 2**23
# Largest relative distance in norm at which two draws of a gradient are taken for the same.
_SAME = {torch.float64: 1e-8, torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.3}
# Tensors this small beside the largest one may be all rounding.
_ROUNDINGS = 64


def probes(problem: Problem, K: int) -> list[Problem]:
    """Problems of one data point each, with M = 1 and K samples, spread over the data."""
    most = max(1, min(_POINTS, _COORDINATES // max(1, problem.layout.size)))
    groups = torch.linspace(0, problem.groups - 1, min(problem.groups, most)).round().int().tolist()
    return [probe(problem, group, K) for group in groups]


def probe(problem: Problem, group: int, K: int) -> Problem:
    """A problem of one data point."""
    # With the very parameters: where only some are wanted, others are constants, and a model may find that out.
    point = take(problem.group(group), slice(0, 1))
    own = Problem.units(problem.model, point, K, Streams(0), dreams=problem.dreams)
    return replace(own, layout=problem.layout)


def restricted(problem: Problem, names: Iterable[str]) -> Problem:
    """The same draws of some of the parameters."""
    layout, wanted = problem.layout, set(names)
    kept = [i for i, name in enumerate(layout.names) if name in wanted]
    own = tuple(layout.names[i] for i in kept)
    part = Layout(own, tuple(layout.shapes[i] for i in kept), tuple(layout.networks[i] for i in kept))
    return replace(problem, layout=part)


def truth(problem: Problem, estimator: Estimator) -> dict[str, Pair]:
    """Name to the loop's (mean, m2), ``[groups, *shape]``."""
    found = accumulate(LoopEngine().gradients(problem, estimator, range(problem.groups), DRAWS, SIZE))
    return dict(zip(problem.layout.names, zip(found.mean, found.m2, strict=True), strict=True))


@dataclass(frozen=True)
class Trial:
    """What came of trying vmap.

    Attributes:
        wrong: why it cannot draw the gradients: what it raises, or that its draws are not the loop's; empty if it can.
        slow: operations that it took one by one.
    """

    wrong: str
    slow: int = 0


def try_vmap(problem: Problem, estimator: Estimator) -> Trial:
    """Draw a small problem by vmap and by the loop."""
    own, slow = small(problem, estimator.few_samples[-1]), list[str]()
    arguments = own, estimator, range(1), DRAWS, SIZE
    try:
        found = [torch.cat(parts) for parts in zip(*batched_gradients(*arguments, slow), strict=True)]
    except SnrkitError:
        raise
    except Exception as error:  # a model's own code may raise anything on what it was not written for
        if out_of_memory(error):
            raise
        lines = str(error).strip().splitlines()
        return Trial(f"{type(error).__name__}: {lines[0] if lines else 'no message'}")
    expected = [torch.cat(parts) for parts in zip(*LoopEngine().gradients(*arguments), strict=True)]
    norms = [float(tensor.double().norm()) for tensor in expected]
    floor = _ROUNDINGS * torch.finfo(problem.dtype).eps * max(norms)
    for name, one, other, norm in zip(own.layout.names, found, expected, norms, strict=True):
        off = float((one.double() - other.double()).norm())
        # Where the loop has NaN, nothing can be told.
        if math.isfinite(norm) and not off <= _SAME[problem.dtype] * norm + floor:
            return Trial(f"its gradient of {name} is not that of a backward pass")
    return Trial("", len(slow))


def small(problem: Problem, K: int) -> Problem:
    """The first group with few samples: one data point, or where points are drawn together at most two."""
    if problem.points_per_group == 1:
        return probe(problem, 0, K)
    few = take(problem.group(0), slice(0, 2))
    own = Problem.direct(problem.model, few, min(problem.M, 2), K, Streams(0), dreams=problem.dreams)
    return replace(own, layout=problem.layout)
