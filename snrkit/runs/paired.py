"""Paired differences, with an interval, a verdict and the size of what could have been told. Imports no torch.

Two things vary: what is read (test points, or draws of the noise), the same for both sides, and the runs, one per seed. Of one
run on either side the interval speaks of these two alone; of several it speaks of what they were trained with. Errors of
different kinds have different degrees of freedom, so their reaches are added in quadrature, each with its own quantile of
Student's t: exact for either alone, and together at least 95 % (tests/runs/test_paired.py simulates it).

The spread over seeds is that of the pair itself: settings may differ in it, so nothing is pooled over them. The intervals of
several comparisons with one baseline hold together (Bonferroni): where all are equal in truth, nineteen tables in twenty tell
none apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

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
class Difference:
    """A mean difference, and what it decides.

    Attributes:
        value: of the first minus the second.
        stderr: its standard error.
        low: lower end of the interval, which holds together with those of the other comparisons.
        high: its upper end.
        verdict: of the first: ``higher``, ``lower``, ``cannot tell``, or ``equal`` where every single difference is 0.
        tellable: a true difference of this size would be told from 0 four times out of five, with this error.
        runs: pairs of runs behind it.
        points: test points behind it; 0 where they are not known one by one.
    """

    value: float
    stderr: float
    low: float
    high: float
    verdict: str
    tellable: float
    runs: int
    points: int = 0


def of_points(differences: Array, comparisons: int = 1) -> Difference:
    """The difference of what is known point by point.

    Args:
        differences: ``[runs, points]``, one row for each pair of runs, the same points in all.
        comparisons: how many are made together with the same baseline.
    """
    runs, points = differences.shape
    parts = [Part(_variance(differences.mean(0)) / points, points - 1), *_between(differences.mean(1))]
    same = bool((differences == 0).all())
    return _decided(float(differences.mean()), parts, comparisons, runs, points, same=same)


def of_runs(
    differences: Sequence[float] | Array, *, own: float, degrees: float = math.inf, shared: bool = True,
    comparisons: int = 1,
) -> Difference:  # fmt: skip
    """The difference of what is known as a value with an error.

    Args:
        differences: one for each pair of runs.
        own: variance of one such difference, from its own reading; NaN where it is unknown.
        degrees: of freedom that this is known with.
        shared: whether all pairs were read on the same points, whose luck does not average out over them. Luck of their own
            (draws of the noise) shows in their spread, which is then taken for no less.
        comparisons: how many are made together with the same baseline.
    """
    values = np.asarray(differences, dtype=float)
    spread = _between(values)
    same = bool((values == 0).all()) and own == 0
    if shared or not spread:
        parts = [Part(own, degrees), *spread]
    else:
        # The larger of the two: the spread holds the draws' luck, unless few runs happen to lie close together.
        parts = [max(Part(own / len(values), degrees), *spread, key=_reach_of)]
    return _decided(float(values.mean()), parts, comparisons, len(values), same=same)


def _between(values: Array) -> list[Part]:
    """The spread between runs, where there are several."""
    return [Part(_variance(values) / len(values), len(values) - 1)] if len(values) > 1 else []


def _variance(values: Array) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else math.nan


def _reach_of(part: Part) -> float:
    return math.sqrt(part.variance) * _quantile(part.degrees, 1)


def _quantile(degrees: float, comparisons: int) -> float:
    tail = (1 - LEVEL) / 2 / comparisons
    return float(-ndtri(tail) if math.isinf(degrees) else -stdtrit(degrees, tail))


def _decided(
    value: float, parts: Sequence[Part], comparisons: int, runs: int, points: int = 0, *, same: bool
) -> Difference:
    if same:
        return Difference(0.0, 0.0, 0.0, 0.0, EQUAL, 0.0, runs, points)
    error = math.sqrt(sum(part.variance for part in parts))
    reach = math.sqrt(sum(part.variance * _quantile(part.degrees, comparisons) ** 2 for part in parts))
    # Without any spread nothing was tested: counts of few runs may agree by chance.
    known = math.isfinite(reach) and reach > 0
    told = known and abs(value) > reach
    verdict = (HIGHER if value > 0 else LOWER) if told else UNTOLD
    ends = (value - reach, value + reach) if known else (math.nan, math.nan)
    tellable = reach + float(ndtri(POWER)) * error if known else math.nan
    return Difference(value, error, *ends, verdict, tellable, runs, points)
