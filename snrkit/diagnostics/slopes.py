"""Log-log slopes of the SNR against K or M, and what theory says of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snrkit.diagnostics.intervals import Interval, jackknife_stderr, student
from snrkit.types import Array

TOLERANCE = 0.05
# The rates are first terms of expansions in Var[w]/(K Z^2): where that is not small at the smallest K, they need not show.
LARGEST_EXPANSION_TERM = 0.3
MINIMUM_POINTS = 3


@dataclass(frozen=True)
class Slope:
    """A fitted slope and its verdict.

    Attributes:
        interval: the slope.
        expected: what theory says near the optimum.
        verdict: ``agrees``, ``disagrees``, ``not in the asymptotic regime`` or ``cannot tell``.
        reason: why, in a phrase.
    """

    interval: Interval
    expected: float
    verdict: str
    reason: str


def fit(x: Array, y: Array, weights: Array) -> Array:
    """Weighted least-squares slopes of y against x: ``[n]`` or ``[replicates, n]`` to a scalar or ``[replicates]``."""
    centred = x - weights @ x / weights.sum()
    slope: Array = (y * weights) @ centred / ((weights * centred) @ centred)
    return slope


def judge(
    samples: Sequence[int], squares: Array, replicates: Array, expected: float, expansion: float, weights: Array
) -> Slope:
    """Slope of log SNR from signed squares, with a verdict.

    Args:
        samples: the K (or M) fitted over, ascending, at least 3.
        squares: snr_pooled_squared at each, ``[n]``.
        replicates: delete-one-block values, ``[G, n]``; blocks of different K share samples, so they go together.
        expected: theory's exponent.
        expansion: Var[w]/(K Z^2) at the smallest K, that is (K/ESS - 1)/K; 0 where it does not matter.
        weights: fixed beforehand, ``[n]``.
    """
    x = np.log(np.array(samples, dtype=float))
    G = len(replicates)
    positive = np.vstack([squares, replicates]).min(axis=0) > 0  # False for NaN, where nothing varied
    if not positive.all():
        lost = ", ".join(str(k) for k, found in zip(samples, positive, strict=True) if not found)
        nothing = Interval(math.nan, math.nan, math.nan, math.nan)
        return Slope(nothing, expected, "cannot tell", f"no signal above the noise at {lost}; draw more")
    logs, log_replicates = 0.5 * np.log(squares), 0.5 * np.log(replicates)
    value = float(fit(x, logs, weights))
    interval = student(value, float(jackknife_stderr(fit(x, log_replicates, weights))), G)
    reach = interval.high - interval.value
    if reach > 3 * TOLERANCE:
        return Slope(interval, expected, "cannot tell", f"the interval reaches {reach:.2f} to either side; draw more")
    if abs(value - expected) <= max(TOLERANCE, reach):
        return Slope(interval, expected, "agrees", f"{value:+.3f} ± {interval.stderr:.3f} against {expected:+.2f}")
    return Slope(interval, expected, *_explain(x, logs, log_replicates, samples, expansion, value))


def _explain(
    x: Array, logs: Array, replicates: Array, samples: Sequence[int], expansion: float, value: float
) -> tuple[str, str]:
    """Verdict and reason where the slope is not the expected one."""
    if expansion > LARGEST_EXPANSION_TERM:
        return "not in the asymptotic regime", f"Var[w]/(K Z²) is {expansion:.2g} at {samples[0]}, not small"
    half = (len(x) + 1) // 2
    ends = [fit(x[part], logs[part], np.ones(half)) for part in (slice(None, half), slice(-half, None))]
    many = [fit(x[part], replicates[:, part], np.ones(half)) for part in (slice(None, half), slice(-half, None))]
    bend, error = float(ends[1] - ends[0]), float(jackknife_stderr(many[1] - many[0]))
    if abs(bend) > max(TOLERANCE, 3 * error):
        return (
            "not in the asymptotic regime",
            f"the curve bends: {float(ends[0]):+.2f} at first, {float(ends[1]):+.2f} at last",
        )
    return "disagrees", f"a straight line of slope {value:+.3f}"
