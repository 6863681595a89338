"""SNR in its several definitions, variance, mean norm and noise scale of one unit gradient, block by block."""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from snrkit.diagnostics.arrays.base import Segments, Totals
from snrkit.diagnostics.intervals import (
    Interval,
    clipped,
    delete_one,
    half_sample_stderr,
    half_samples,
    jackknife_stderr,
    root_of_square,
    student,
)
from snrkit.diagnostics.metrics.base import Evidence, Family, Reading
from snrkit.diagnostics.relations import across
from snrkit.runs.metrics import Metric
from snrkit.types import Array

if TYPE_CHECKING:  # it loads torch
    from snrkit.diagnostics.moments import Moments

# Mean and quartiles of |N(0, 1)|: what the ratio metrics read in units of 1/sqrt(R) when the mean is zero.
_HALF_NORMAL = {"snr_mean": math.sqrt(2 / math.pi), "snr_q25": 0.318639, "snr_median": 0.674490, "snr_q75": 1.150349}
_NORMAL_95 = 1.644854


def read(moments: "Moments", blocks: Mapping[str, slice], lender: "Moments | None" = None) -> list[Reading]:
    """All of these but the noise scale, of all blocks.

    Args:
        moments: moments of the unit gradient, P coordinates.
        blocks: block name to its coordinates.
        lender: moments of another estimator with the same mean, whose means are used instead; as many blocks.
    """
    return _read_all(moments, blocks, lender, moments if lender is None else lender)[0]


def _read_all(
    moments: "Moments", blocks: Mapping[str, slice], lender: "Moments | None", source: "Moments"
) -> tuple[list[Reading], Array]:
    """The readings, and the inner products of the block means of what has the means, ``[blocks, G, G]``."""
    segments = Segments(blocks.values())
    totals = moments.totals(
        np.concatenate([np.ones((1, moments.blocks)), delete_one(moments.blocks)]), segments, lender
    )
    products, centred = source.gram(segments)
    traces = totals.trace[0] if lender is None else source.totals(np.ones((1, source.blocks)), segments).trace[0]
    quadratic, ratios = _quadratics(totals, blocks), _ratios(moments, segments, blocks, lender)
    rows = []
    for i, (name, block) in enumerate(blocks.items()):
        size, kept = block.stop - block.start, int(totals.moving[i])
        # Where nothing varies, noise reads nothing.
        floors = _floors(totals, i, effective_coordinates(centred[i], float(traces[i]), size)) if kept else {}
        said = "" if moments.verdict is None else moments.verdict.remark(block)
        for metric, (interval, replicates) in (ratios[name] | quadratic[name]).items():
            entered = size if metric in ("variance", "mean_norm") else kept
            remark = said if metric.startswith("snr_") else ""
            floor = floors.get(metric, math.nan)
            rows.append(Reading(metric, name, interval, floor, entered, size - entered, replicates, remark=remark))
    return rows, products


Found = dict[str, dict[str, tuple[Interval, Array]]]


def _quadratics(totals: Totals, blocks: Mapping[str, slice]) -> Found:
    """From all blocks of draws, and all but one."""
    varies = (totals.moving > 0) & (totals.trace > 0)  # a replicate may lack what varies elsewhere
    squares = np.full_like(totals.trace, math.nan)
    np.divide(totals.signed, totals.trace, out=squares, where=varies)
    sums = np.stack([squares, totals.trace, totals.norm], axis=2)  # [1 + G, blocks, 3]
    full, replicates = sums[0], sums[1:]
    errors, G = jackknife_stderr(replicates), len(replicates)
    found: Found = {}
    for i, name in enumerate(blocks):
        squared, trace, norm = (student(full[i, j], errors[i, j], G) for j in range(3))
        found[name] = {
            "snr_pooled": (root_of_square(squared), np.empty(0)),
            "snr_pooled_squared": (squared, replicates[:, i, 0]),
            "variance": (clipped(trace), replicates[:, i, 1]),
            "mean_norm": (root_of_square(norm), np.empty(0)),
        }
    return found


def _ratios(moments: "Moments", segments: Segments, blocks: Mapping[str, slice], lender: "Moments | None") -> Found:
    """Of per-coordinate ratios: from all blocks of draws, and from halves of them."""
    G = moments.blocks
    values = moments.ratios(np.concatenate([np.ones((1, G)), half_samples(G)]), segments, lender)
    full, errors = values[0], half_sample_stderr(values[1:])
    metrics = ("snr_mean", "snr_q25", "snr_median", "snr_q75")
    return {
        name: {m: (clipped(student(full[i, j], errors[i, j], G)), np.empty(0)) for j, m in enumerate(metrics)}
        for i, name in enumerate(blocks)
    }


def _floors(totals: Totals, block: int, effective: float) -> dict[str, float]:
    """What each SNR of a block that varies would read if all means were noise, given how many coordinates move alone.

    Of a lender's means, the floors of the quantiles are as if its gain were the same in all coordinates.
    """
    spread = math.sqrt(totals.of_mean[block] / totals.trace[0, block])
    noise = _NORMAL_95 * math.sqrt(2 / effective) * spread**2
    typical = float(totals.typical[block] / totals.moving[block])
    floors = {metric: unit * typical for metric, unit in _HALF_NORMAL.items()}
    return floors | {"snr_pooled": math.sqrt(noise), "snr_pooled_squared": noise}


def effective_coordinates(centred: Array, trace: float, size: int) -> float:
    """P_eff = (tr S)^2 / tr S^2 of a block, S the covariance of a draw; between 1 and the number of coordinates.

    tr S^2 comes from products of different centred block means (a diagonal product would see the noise itself); centring
    makes their mean -tr S/G, which is taken out.

    Args:
        centred: inner products of the centred block means, each times the root of its draws, ``[G, G]``.
        trace: tr S.
        size: number of coordinates.
    """
    G = len(centred)
    products = centred + trace / G
    off_diagonal = products[~np.eye(G, dtype=bool)]
    trace_of_square = float(np.square(off_diagonal).mean()) / ((1 - 1 / G) ** 2 + 1 / G**2)
    return min(max(1.0, trace**2 / trace_of_square), float(size))


def noise_scale(products: Array, trace: float, replicates: Array) -> Interval:
    """Tr Var[g] / |E[g]|^2.

    Args:
        products: inner products of the block means, ``[G, G]``.
        trace: trace of the variance.
        replicates: the trace from all blocks but one, ``[G]``.
    """
    G = len(products)
    ratios = [_ratio(replicates[g], across(np.delete(np.delete(products, g, 0), g, 1))) for g in range(G)]
    return student(_ratio(trace, across(products)), float(jackknife_stderr(np.array(ratios))), G)


def _ratio(trace: float, norm: float) -> float:
    return trace / norm if norm > 0 else math.nan


def _read(evidence: Evidence) -> Iterator[Reading]:
    source = evidence.lender or evidence.moments
    found, products = _read_all(evidence.moments, evidence.blocks, evidence.lender, source)
    yield from found
    traces = (reading for reading in found if reading.metric == "variance")
    for trace, block, inner in zip(traces, evidence.blocks.values(), products, strict=True):
        scale = noise_scale(inner, trace.interval.value, trace.replicates)
        yield Reading("noise_scale", trace.block, scale, n_coordinates=block.stop - block.start)


_RATIO = "over coordinates of |E[g]|/sd[g]; interval of the reading expected at these draws"

FAMILY = Family(
    {
        "snr_mean": Metric(f"mean {_RATIO}", "SNR", 0.5, of_mean=True, shown=True),
        "snr_q25": Metric(f"lower quartile {_RATIO}", "lower quartile of SNR", 0.5, of_mean=True),
        "snr_median": Metric(f"median {_RATIO}", "median SNR", 0.5, of_mean=True),
        "snr_q75": Metric(f"upper quartile {_RATIO}", "upper quartile of SNR", 0.5, of_mean=True),
        "snr_pooled": Metric(
            "root of snr_pooled_squared clipped at 0; floor: 95 % point of pure noise", "pooled SNR", 0.5, of_mean=True
        ),
        "snr_pooled_squared": Metric(
            "sum of m^2 - s^2/R over sum of s^2, unbiased and signed; floor: 95 % point of pure noise",
            "pooled SNR²", 1, of_mean=True,
        ),
        "variance": Metric("trace of Var[g]: sum over coordinates", "variance", -1),
        "mean_norm": Metric(
            "norm of E[g], debiased: root of the sum of m^2 - s^2/R, clipped at 0", "norm of the mean", of_mean=True
        ),
        "noise_scale": Metric(
            "gradient noise scale tr Var[g] / |E[g]|^2, debiased; undefined where |E[g]|^2 <= 0", "noise scale",
            -1, of_mean=True,
        ),
    },
    _read,
)  # fmt: skip
