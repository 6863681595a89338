"""Paired differences with a baseline: an interval, a verdict, and the size of what could have been told. Imports no torch.

Two things vary: what is read (test points, or draws of the noise), the same for both sides, and the runs, one per seed. Of
one run on either side the interval speaks of these two alone; of several it speaks of what they were trained with. Errors of
different kinds have different degrees of freedom, so their reaches are added in quadrature, each with its own quantile of
Student's t: exact for either alone, and together at least 95 %.

A pair's spread over seeds is pooled over all that is compared with the baseline, as in ``snrkit.runs.orders``, and taken
for no less than the pair's own: few seeds then decide more, and a setting that varies more than the others is not told too
easily. The intervals of all comparisons hold together (Bonferroni). Where all are equal in truth, at most one table in
twenty tells any apart; one in sixteen where one setting's spread is ten times that of the others. tests/runs/test_paired.py
simulates both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from snrkit.runs.orders import pooled
from snrkit.types import Array

LEVEL = 0.95
# How often a difference of the size that could have been told would be.
POWER = 0.8
EQUAL, HIGHER, LOWER, UNTOLD = "equal", "higher", "lower", "cannot tell"


@dataclass(frozen=True)
class Part:
    """A part of the variance of a mean difference.

    Attributes:
        variance: of the mean.
        degrees: of freedom that it is known with; infinite where it is known.
    """

    variance: float
    degrees: float


@dataclass(frozen=True)
class Pair:
    """Something and the baseline, read alike.

    Attributes:
        seeds: the difference, one for each pair of runs.
        read: variance of their mean from what was read.
        averages: whether that is of each pair's own and so shows in the spread over seeds (draws of the noise); else it is
            the same for all (test points) and comes on top.
        points: test points that the differences are known at, one by one.
        equal: whether every single difference is 0.
    """

    seeds: Array
    read: Part
    averages: bool = False
    points: int = 0
    equal: bool = False

    @classmethod
    def of_points(cls, differences: Array) -> "Pair":
        """Of what is known point by point, ``[runs, points]``, at the same points in all."""
        count = differences.shape[1]
        read = Part(_variance(differences.mean(0)) / count, count - 1)
        return cls(differences.mean(1), read, points=count, equal=bool((differences == 0).all()))

    @classmethod
    def of_values(cls, differences: Sequence[float] | Array, variance: float, *, degrees: float = math.inf,
                  averages: bool = False) -> "Pair":  # fmt: skip
        """Of what is known as values with an error.

        Args:
            differences: one for each pair of runs.
            variance: of one of them, from its own reading; NaN where it is unknown.
            degrees: of freedom that this is known with.
            averages: whether it is of each pair's own, see above.
        """
        seeds = np.asarray(differences, dtype=float)
        read = Part(variance / len(seeds) if averages else variance, degrees)
        return cls(seeds, read, averages, equal=bool((seeds == 0).all()) and variance == 0)


@dataclass(frozen=True)
class Difference:
    """A mean difference, and what it decides.

    Attributes:
        value: of the first minus the baseline.
        stderr: its standard error.
        low: lower end of the interval, which holds together with those of the other comparisons.
        high: its upper end.
        verdict: of the first: ``higher``, ``lower``, ``cannot tell``, or ``equal`` where every single difference is 0.
        tellable: a true difference of this size would be told from 0 four times out of five, with this error.
        runs: pairs of runs behind it.
        points: test points behind it; 0 where they are not known one by one.
        together: comparisons whose intervals hold together.
    """

    value: float
    stderr: float
    low: float
    high: float
    verdict: str
    tellable: float
    runs: int
    points: int
    together: int


def differences(pairs: Sequence[Pair]) -> list[Difference]:
    """All that is compared with one baseline in one respect, in the order given."""
    told = [pair for pair in pairs if not pair.equal]
    spread = _spread(told)
    return [_difference(pair, spread, len(told)) for pair in pairs]


def _spread(pairs: Sequence[Pair]) -> Part:
    """The variance between seeds, pooled; all pairs have the baseline in common, see ``orders.decide``."""
    several = [pair.seeds for pair in pairs if len(pair.seeds) > 1 and np.isfinite(pair.seeds).all()]
    variance, freedom = pooled(several)
    return Part(variance, freedom * 4 / (len(several) + 3))


def _difference(pair: Pair, spread: Part, together: int) -> Difference:
    count, value = len(pair.seeds), float(pair.seeds.mean())
    if pair.equal:
        return Difference(0.0, 0.0, 0.0, 0.0, EQUAL, 0.0, count, pair.points, 0)
    if not math.isfinite(value):
        nan = math.nan
        return Difference(nan, nan, nan, nan, UNTOLD, nan, count, pair.points, together)
    parts = [pair.read]
    if count > 1:
        between = Part(max(spread.variance, _variance(pair.seeds)) / count, spread.degrees)
        # The spread holds the draws' luck, unless few runs happen to lie close together.
        parts = [max(pair.read, between, key=_reach)] if pair.averages else [pair.read, between]
    error = math.sqrt(sum(part.variance for part in parts))
    reach = math.hypot(*(_reach(part, together) for part in parts))
    # Without any spread nothing was tested: counts of few runs may agree by chance.
    known = math.isfinite(reach) and reach > 0
    told = known and abs(value) > reach
    verdict = (HIGHER if value > 0 else LOWER) if told else UNTOLD
    low, high = (value - reach, value + reach) if known else (math.nan, math.nan)
    tellable = reach + float(ndtri(POWER)) * error if known else math.nan
    return Difference(value, error, low, high, verdict, tellable, count, pair.points, together)


def _variance(values: Array) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else math.nan


def _reach(part: Part, together: int = 1) -> float:
    tail = (1 - LEVEL) / 2 / together
    return math.sqrt(part.variance) * float(-ndtri(tail) if math.isinf(part.degrees) else -stdtrit(part.degrees, tail))
