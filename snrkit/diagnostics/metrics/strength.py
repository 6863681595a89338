"""SNR in its several definitions, variance, mean norm and noise scale of one unit gradient, block by block."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

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
from snrkit.diagnostics.relations import across, block_means
from snrkit.runs.metrics import Metric
from snrkit.types import Array, Mask

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
    merged = Merged(moments, lender)
    moving = merged.all().moving
    quadratic = _quadratics(merged, blocks, moving)
    ratios = _ratios(merged, blocks)
    rows = []
    for name, block in blocks.items():
        kept = int(moving[block].sum())
        floors = _floors(moments if lender is None else lender, merged.all(), block)
        said = "" if moments.verdict is None else moments.verdict.remark(block)
        for metric, (interval, replicates) in (ratios[name] | quadratic[name]).items():
            entered = block.stop - block.start if metric in ("variance", "mean_norm") else kept
            dropped = block.stop - block.start - entered
            remark = said if metric.startswith("snr_") else ""
            floor = floors.get(metric, math.nan)
            rows.append(Reading(metric, name, interval, floor, entered, dropped, replicates, remark=remark))
    return rows


@dataclasses.dataclass(frozen=True)
class Estimates:
    """Per coordinate, ``[P]``: mean, variance of one draw, variance of the estimate of the mean, and whether it varies."""

    mean: Array
    variance: Array
    of_mean: Array
    moving: Mask


class Merged:
    """Estimates from any selection of blocks, with the mean from the draws themselves or from a lender's."""

    def __init__(self, moments: "Moments", lender: "Moments | None") -> None:
        self.moments, self._lender = moments, lender

    def of(self, selection: Array | None) -> Estimates:
        """Estimates from the selected blocks, ``[G]`` of 1 and 0; None: all."""
        draws, mean, variance = self.moments.merged(selection)
        moving = variance > 0
        if self._lender is None:
            return Estimates(mean, variance, variance / draws, moving)
        lent, mean, other = self._lender.merged(selection)
        return Estimates(mean, variance, other / lent, moving)

    def all(self) -> Estimates:
        """Estimates from all blocks."""
        return self.of(None)


def _sums(estimates: Estimates, blocks: Iterable[slice], moving: Mask) -> Array:
    """Per block (signed snr_pooled^2, sum of variances, signed squared norm of the mean): ``[blocks, 3]``."""
    signed = estimates.mean**2 - estimates.of_mean
    rows = []
    for block in blocks:
        trace, norm, inside = estimates.variance[block].sum(), signed[block].sum(), moving[block]
        varies = inside.any() and trace > 0  # a replicate may lack what varies elsewhere
        rows.append((signed[block][inside].sum() / trace if varies else math.nan, trace, norm))
    return np.array(rows)


Found = dict[str, dict[str, tuple[Interval, Array]]]


def _quadratics(merged: Merged, blocks: Mapping[str, slice], moving: Mask) -> Found:
    G = merged.moments.blocks
    full = _sums(merged.all(), blocks.values(), moving)
    replicates = np.stack([_sums(merged.of(row), blocks.values(), moving) for row in delete_one(G)])
    errors = jackknife_stderr(replicates)
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


def _quartiles(estimates: Estimates, blocks: Iterable[slice]) -> Array:
    """Per block (mean, lower quartile, median, upper quartile) of |m|/s over what varies: ``[blocks, 4]``."""
    rows = []
    for block in blocks:
        inside = estimates.moving[block]
        ratio = np.abs(estimates.mean[block][inside]) / np.sqrt(estimates.variance[block][inside])
        rows.append((ratio.mean(), *_quantiles(ratio)) if ratio.size else (math.nan,) * 4)
    return np.array(rows)


def _quantiles(values: Array) -> Array:
    """The quartiles; numpy sorts several times faster than its quantile function selects."""
    positions = (values.size - 1) * np.array([0.25, 0.5, 0.75])
    found: Array = np.interp(positions, np.arange(values.size), np.sort(values))
    return found


def _ratios(merged: Merged, blocks: Mapping[str, slice]) -> Found:
    G = merged.moments.blocks
    full = _quartiles(merged.all(), blocks.values())
    errors = half_sample_stderr(np.stack([_quartiles(merged.of(row), blocks.values()) for row in half_samples(G)]))
    metrics = ("snr_mean", "snr_q25", "snr_median", "snr_q75")
    return {
        name: {m: (clipped(student(full[i, j], errors[i, j], G)), np.empty(0)) for j, m in enumerate(metrics)}
        for i, name in enumerate(blocks)
    }


def _floors(source: "Moments", estimates: Estimates, block: slice) -> dict[str, float]:
    """What each SNR would read if the means of ``source`` were all noise.

    Of a lender's means, the floors of the quantiles are as if its gain were the same in all coordinates.
    """
    inside = estimates.moving[block]
    if not inside.any():
        return {}
    trace = float(estimates.variance[block].sum())
    spread = math.sqrt(float(estimates.of_mean[block].sum()) / trace)
    noise = _NORMAL_95 * math.sqrt(2 / effective_coordinates(source, block)) * spread**2
    typical = float(np.sqrt(estimates.of_mean[block][inside] / estimates.variance[block][inside]).mean())
    floors = {metric: unit * typical for metric, unit in _HALF_NORMAL.items()}
    return floors | {"snr_pooled": math.sqrt(noise), "snr_pooled_squared": noise}


def effective_coordinates(moments: "Moments", block: slice) -> float:
    """P_eff = (tr S)^2 / tr S^2 of a block, S the covariance of a draw; between 1 and the number of coordinates.

    tr S^2 comes from products of different centred block means (a diagonal product would see the noise itself); centring
    makes their mean -tr S/G, which is taken out.
    """
    G, trace = moments.blocks, float(moments.merged()[2][block].sum())
    offsets = moments.offsets[:, block]
    centred = np.sqrt(moments.counts)[:, None] * (offsets - moments.counts @ offsets / moments.counts.sum())
    products = centred @ centred.T + trace / G
    off_diagonal = products[~np.eye(G, dtype=bool)]
    trace_of_square = float(np.square(off_diagonal).mean()) / ((1 - 1 / G) ** 2 + 1 / G**2)
    return min(max(1.0, trace**2 / trace_of_square), float(block.stop - block.start))


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


def _read(evidence: Evidence) -> Iterator[Reading]:
    found = read(evidence.moments, evidence.blocks, evidence.lender)
    yield from found
    for trace in (reading for reading in found if reading.metric == "variance"):
        block = evidence.blocks[trace.block]
        means = block_means(evidence.lender or evidence.moments, block)
        scale = noise_scale(means, trace.interval.value, trace.replicates)
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
