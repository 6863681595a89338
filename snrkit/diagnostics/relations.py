"""Bias, cosine and gradient noise scale, from inner products of block means.

With block means m_j of an estimator and t_j of a target, products of different blocks are free of Monte Carlo noise in the
mean: E<m_j, t_k> = <E m, E t> for j != k, whether or not both were drawn from the same noise. So every squared norm here is
unbiased, and can come out negative.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from snrkit.diagnostics.intervals import Interval, delete_one, jackknife_stderr, root_of_square, student
from snrkit.diagnostics.moments import Array, Moments

Indices = npt.NDArray[np.intp]


def across(products: Array) -> float:
    """Mean of the products of different blocks: ``[g, g]`` to a scalar; NaN where there is one block only."""
    g = products.shape[0]
    return math.nan if g < 2 else float((products.sum() - np.trace(products)) / (g * (g - 1)))


def block_means(moments: Moments, block: slice) -> Array:
    """Block means of a block of coordinates, ``[G, p]``."""
    return moments.origin[block] + moments.offsets[:, block]


def bias(own: Array, target: Array) -> dict[str, Interval]:
    """Distance and angle between two mean gradients.

    Args:
        own: block means of the estimator, ``[G, p]``.
        target: block means of the target, ``[G, p]``; equal rows if it is known exactly.
    """
    mm, tt, mt = own @ own.T, target @ target.T, own @ target.T
    # The difference is taken block by block, so that shared noise cancels, and before the products, so that digits do not.
    dd = (own - target) @ (own - target).T

    def squared(kept: Indices) -> float:
        return across(dd[np.ix_(kept, kept)])

    def relative_squared(kept: Indices) -> float:
        norm = across(tt[np.ix_(kept, kept)])
        return squared(kept) / norm if norm > 0 else math.nan

    def cosine(kept: Indices) -> float:
        grid = np.ix_(kept, kept)
        norms = across(mm[grid]) * across(tt[grid])
        positive = across(mm[grid]) > 0 and across(tt[grid]) > 0
        return across(mt[grid]) / math.sqrt(norms) if positive else math.nan

    G = len(own)
    square = _jackknife(squared, G)
    return {
        "bias_squared": square,
        "bias_norm": root_of_square(square),
        "bias_relative": root_of_square(_jackknife(relative_squared, G)),
        "bias_cosine": _jackknife(cosine, G),
    }


def noise_scale(means: Array, trace: float, replicates: Array) -> Interval:
    """Tr Var[g] / |E[g]|^2.

    Args:
        means: block means, ``[G, p]``.
        trace: trace of the variance.
        replicates: the trace from all blocks but one, ``[G]``.
    """
    G, mm = len(means), means @ means.T
    ratios = [_ratio(replicates[g], across(np.delete(np.delete(mm, g, 0), g, 1))) for g in range(G)]
    return student(_ratio(trace, across(mm)), float(jackknife_stderr(np.array(ratios))), G)


def _ratio(trace: float, norm: float) -> float:
    return trace / norm if norm > 0 else math.nan


def _jackknife(statistic: Callable[[Indices], float], G: int) -> Interval:
    every = np.arange(G)
    replicates = np.array([statistic(every[row > 0]) for row in delete_one(G)])
    return student(statistic(every), float(jackknife_stderr(replicates)), G)
