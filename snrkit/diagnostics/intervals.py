"""Standard errors and 95 % intervals from blocks of draws.

Smooth functions of quadratics: delete-one-block jackknife. Medians, means and quantiles of ratios: spread over random
half-samples of the blocks, since the delete-one jackknife fails for order statistics. Both with Student t, G - 1 degrees.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from snrkit.types import Array

HALF_SAMPLES = 60
LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its uncertainty.

    Attributes:
        value: point estimate.
        stderr: standard error.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    value: float
    stderr: float
    low: float
    high: float


def student(value: float, stderr: float, blocks: int) -> Interval:
    """value +- t stderr, with the t quantile of ``blocks`` - 1 degrees of freedom."""
    reach = _quantile(blocks - 1) * stderr
    return Interval(value, stderr, value - reach, value + reach)


@functools.cache
def _quantile(degrees: int) -> float:
    """That of Student t: scipy takes longer to find it than all else that an interval takes."""
    return float(stats.t.ppf(0.5 + LEVEL / 2, degrees))


def delete_one(blocks: int) -> Array:
    """Selections of all blocks but one, ``[G, G]``: rows of 1 and 0."""
    return 1.0 - np.eye(blocks)


def jackknife_stderr(replicates: Array) -> Array:
    """Delete-one standard error over the first axis: ``[G, ...]`` to ``[...]``."""
    G = replicates.shape[0]
    error: Array = np.sqrt((G - 1) / G * np.square(replicates - replicates.mean(axis=0)).sum(axis=0))
    return error


def half_samples(blocks: int) -> Array:
    """Random halves of the blocks, ``[HALF_SAMPLES, G]``: rows of 1 and 0, the same at every call.

    Halves come with their complements, so that no block weighs more than another.
    """
    generator = np.random.Generator(np.random.PCG64DXSM(blocks))
    rows = np.zeros((HALF_SAMPLES, blocks))
    for pair in range(HALF_SAMPLES // 2):
        chosen = generator.permutation(blocks)[: blocks // 2]
        rows[2 * pair, chosen] = 1
        rows[2 * pair + 1] = 1 - rows[2 * pair]
    return rows


def half_sample_stderr(replicates: Array) -> Array:
    """Standard error over the first axis of half-sample replicates: ``[H, ...]`` to ``[...]``."""
    error: Array = replicates.std(axis=0, ddof=1)
    return error


def root_of_square(square: Interval) -> Interval:
    """The interval of a non-negative quantity from that of its signed square: clip at 0, then take the root.

    The standard error is the delta method's, NaN where the square is not positive.
    """
    root, low, high = (math.sqrt(max(end, 0.0)) for end in (square.value, square.low, square.high))
    return Interval(root, square.stderr / (2 * root) if root > 0 else math.nan, low, high)


def clipped(interval: Interval) -> Interval:
    """The same interval of a quantity that cannot be negative."""
    return Interval(interval.value, interval.stderr, max(interval.low, 0.0), interval.high)
