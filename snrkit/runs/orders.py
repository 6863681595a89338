"""Is A above B? Differences over seeds, with a verdict at the 95 % level. Imports no torch."""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from snrkit.types import Array


@dataclass(frozen=True)
class Order:
    """A difference that a claim says is positive.

    Attributes:
        larger: what is claimed to be above.
        smaller: what is claimed to be below.
        seeds: the difference, one per seed.
        shared: variance of their mean from what all seeds have in common (test points); it does not show in their spread.
        own: variance of one seed's difference from its own measurement (draws). It shows in the spread, which is taken for
            no less.
    """

    larger: Hashable
    smaller: Hashable
    seeds: Array
    shared: float = 0.0
    own: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What came of an order.

    Attributes:
        difference: mean over seeds.
        error: its standard error.
        verdict: ``holds``, ``does not hold`` or ``undecided``.
    """

    difference: float
    error: float
    verdict: str


def pointwise(larger: Hashable, smaller: Hashable, first: Array, second: Array) -> Order:
    """The order of two things known point by point, ``[seeds, points]`` each, at the same points for all."""
    differences = first - second
    per_point = differences.mean(0)
    return Order(larger, smaller, differences.mean(1), float(per_point.var(ddof=1)) / len(per_point))


def decide(orders: Sequence[Order]) -> list[Decision]:
    """Two-sided tests of the orders of one quantity, by Student's t; one seed decides nothing.

    The variance between seeds is pooled over the orders. Those that have a member in common vary together, so they are
    worth fewer degrees of freedom than as many separate ones: of a quadratic form with the Laplacian L of their graph,
    tr(L)^2 / tr(L^2) instead of their number (Satterthwaite).
    """
    if not orders:
        return []
    between, freedom = pooled([order.seeds for order in orders])
    degrees = Counter(member for order in orders for member in (order.larger, order.smaller))
    freedom *= 4 * len(orders) / (sum(degree**2 for degree in degrees.values()) + 2 * len(orders))
    limit = float(stats.t.ppf(0.975, freedom)) if freedom else math.inf
    found = []
    for order in orders:
        difference = float(order.seeds.mean())
        error = math.sqrt(order.shared + max(between, order.own) / len(order.seeds))
        # Without any error nothing was tested: all that was seen is equal.
        shown = error > 0 and abs(difference) > limit * error
        found.append(Decision(difference, error, _verdict(difference) if shown else "undecided"))
    return found


def pooled(samples: Sequence[Array]) -> tuple[float, float]:
    """Variance within samples, pooled over them, and its degrees of freedom; (0, 0) where all are single."""
    freedom = float(sum(len(sample) - 1 for sample in samples))
    squares = sum(float(np.square(sample - sample.mean()).sum()) for sample in samples)
    return (squares / freedom, freedom) if freedom else (0.0, 0.0)


def _verdict(difference: float) -> str:
    return "holds" if difference > 0 else "does not hold"
