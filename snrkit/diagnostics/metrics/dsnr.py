"""DSNR: how far a draw of the gradient goes along its mean direction, and how far across it."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln

from snrkit.diagnostics.arrays.base import Segments
from snrkit.diagnostics.intervals import Interval, delete_one, jackknife_stderr, student
from snrkit.diagnostics.metrics.base import Evidence, Family, Reading, Replayed
from snrkit.diagnostics.relations import across
from snrkit.runs.metrics import Metric
from snrkit.types import Array

if TYPE_CHECKING:  # it loads torch
    from snrkit.diagnostics.moments import Moments

# R snr_pooled^2 from which on the direction is known well enough.
RELIABLE = 50


def dsnr(
    replayed: Replayed, moments: "Moments", blocks: Sequence[slice], members: Sequence[int]
) -> dict[str, Interval]:
    """DSNR of a block that is made of one network or both.

    Args:
        replayed: projections.
        moments: the job's moments.
        blocks: coordinates of each network.
        members: which networks.

    Returns:
        ``dsnr``, each draw projected on the direction of the other blocks' mean, which is refitted in each replicate; and
        ``dsnr_in_sample``. NaN where there is no direction or nothing across it: a mean of zero, a single coordinate, or
        (cross-fitted) a single block left.
    """
    dimensions = sum(blocks[i].stop - blocks[i].start for i in members)
    gram = moments.gram(Segments(blocks[i] for i in members))[0].sum(axis=0)
    norms, products = (np.asarray(a[:, list(members)].sum(axis=1)) for a in (replayed.norms, replayed.products))
    found = {}
    for name, others in (("dsnr", 1 - np.eye(moments.blocks)), ("dsnr_in_sample", np.ones((moments.blocks,) * 2))):

        def value(kept: Array, others: Array = others) -> float:
            rows = kept[replayed.block] > 0
            weights = others * (kept * moments.counts)
            lengths = np.sqrt(np.einsum("jk,kl,jl->j", weights, gram, weights))
            block = replayed.block[rows]
            if dimensions < 2 or lengths[block].min() == 0:
                return math.nan
            along = (products[rows] * weights[block]).sum(axis=1) / lengths[block]
            across = np.sqrt(np.maximum(norms[rows] - along**2, 0))
            if across.min() == 0:
                return math.nan
            return float(np.mean(np.abs(along) / across))

        replicates = np.array([value(row) for row in delete_one(moments.blocks)])
        full = value(np.ones(moments.blocks))
        found[name] = student(full, float(jackknife_stderr(replicates)), moments.blocks)
    return found


def noise_dsnr(dimensions: int) -> float:
    """DSNR of isotropic normal noise in D dimensions, sqrt(2/pi) Gamma((D-2)/2) / (sqrt 2 Gamma((D-1)/2)); NaN for D < 3."""
    if dimensions < 3:
        return math.nan
    logs = float(gammaln((dimensions - 2) / 2) - gammaln((dimensions - 1) / 2))
    return math.sqrt(2 / math.pi) / math.sqrt(2) * math.exp(logs)


def pulled(strength: float) -> str:
    """The remark at a DSNR whose direction rests on too few draws, R snr_pooled^2; empty where it is reliable."""
    return (
        ""
        if strength >= RELIABLE
        else f"pulled towards its noise value: R snr_pooled^2 = {strength:.1f} < {RELIABLE:g}"
    )


def _read(evidence: Evidence) -> Iterator[Reading]:
    layout, moments = evidence.layout, evidence.moments
    if evidence.replayed is None:
        return
    networks = [layout.blocks[name] for name in layout.present]
    names = [name for name in ("inference", "generative", "all") if name in evidence.blocks]
    segments = Segments(layout.blocks[name] for name in names)
    products, _ = moments.gram(segments)
    (traces,) = moments.totals(np.ones((1, moments.blocks)), segments).trace
    for name, own, trace in zip(names, products, traces, strict=True):
        block = layout.blocks[name]
        remark = pulled(moments.draws * across(own) / float(trace))
        size = block.stop - block.start
        members = [i for i, network in enumerate(layout.present) if name in (network, "all")]
        for metric, interval in dsnr(evidence.replayed, moments, networks, members).items():
            yield Reading(metric, name, interval, noise_dsnr(size), size, remark=remark, pulled=bool(remark))


FAMILY = Family(
    {
        "dsnr": Metric(
            "E[|g along u| / |g across u|], u = direction of E[g] from other blocks of draws", "DSNR", shown=True
        ),
        "dsnr_in_sample": Metric(
            "the same with u from all draws, those projected on it included: too large under noise", "DSNR in sample"
        ),
    },
    _read,
    needs="second pass",
)
