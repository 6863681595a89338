"""Distance and angle between the mean gradient and what it should be, from inner products of block means."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from snrkit.diagnostics.arrays.base import Products, Segments
from snrkit.diagnostics.intervals import Interval, delete_one, jackknife_stderr, root_of_square, student
from snrkit.diagnostics.metrics.base import Evidence, Family, Reading
from snrkit.diagnostics.relations import across
from snrkit.runs.metrics import Metric
from snrkit.types import Array, Indices


def bias(own: Array, target: Array) -> dict[str, Interval]:
    """Distance and angle between two mean gradients.

    Args:
        own: block means of the estimator, ``[G, p]``.
        target: block means of the target, ``[G, p]``; equal rows if it is known exactly.
    """
    apart = own - target
    return _bias(Products(own @ own.T, target @ target.T, own @ target.T, apart @ apart.T))


def _bias(products: Products) -> dict[str, Interval]:
    # The difference is taken block by block, so that shared noise cancels.
    mm, tt, mt, dd = products.own, products.target, products.mixed, products.apart

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

    G = len(mm)
    square = _jackknife(squared, G)
    return {
        "bias_squared": square,
        "bias_norm": root_of_square(square),
        "bias_relative": root_of_square(_jackknife(relative_squared, G)),
        "bias_cosine": _jackknife(cosine, G),
    }


def _jackknife(statistic: Callable[[Indices], float], G: int) -> Interval:
    every = np.arange(G)
    replicates = np.array([statistic(every[row > 0]) for row in delete_one(G)])
    return student(statistic(every), float(jackknife_stderr(replicates)), G)


def _read(evidence: Evidence) -> Iterator[Reading]:
    for target in {id(target): target for target in evidence.targets.values()}.values():
        blocks = {name: evidence.blocks[name] for name, own in evidence.targets.items() if own is target}
        every = evidence.moments.products(target.moments, Segments(blocks.values()))
        for (name, block), products in zip(blocks.items(), every, strict=True):
            for metric, interval in _bias(products).items():
                yield Reading(metric, name, interval, n_coordinates=block.stop - block.start, target=target.name)


FAMILY = Family(
    {
        "bias_squared": Metric("squared norm of E[g] - target, unbiased and signed", "bias²"),
        "bias_norm": Metric("root of bias_squared clipped at 0", "bias", shown=True),
        "bias_relative": Metric("bias_norm over the debiased norm of the target", "relative bias", shown=True),
        "bias_cosine": Metric(
            "cosine between E[g] and the target; undefined where a debiased squared norm is <= 0", "cosine", shown=True
        ),
    },
    _read,
    needs="target",
)
