"""Readings of one unit gradient: SNR in its several definitions, variance and mean norm, block by block.

Everything is read at count = 1 and carried to an average of ``count`` units by ``Reading.of_average``: means stay,
variances divide by ``count``.
"""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

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
from snrkit.diagnostics.moments import Array, Moments

Mask = npt.NDArray[np.bool_]

# Metric -> (power of ``count`` that carries it to an average of units, definition).
METRICS: dict[str, tuple[float, str]] = {
    "snr_mean": (0.5, "mean over coordinates of |E[g]|/sd[g]; interval of the reading expected at these draws"),
    "snr_median": (0.5, "median over coordinates of |E[g]|/sd[g]; interval of the reading expected at these draws"),
    "snr_q25": (
        0.5,
        "lower quartile over coordinates of |E[g]|/sd[g]; interval of the reading expected at these draws",
    ),
    "snr_q75": (
        0.5,
        "upper quartile over coordinates of |E[g]|/sd[g]; interval of the reading expected at these draws",
    ),
    "snr_pooled": (0.5, "root of snr_pooled_squared clipped at 0; floor: 95 % point of pure noise"),
    "snr_pooled_squared": (
        1.0,
        "sum of m^2 - s^2/R over sum of s^2, unbiased and signed; floor: 95 % point of pure noise",
    ),
    "variance": (-1.0, "sum over coordinates of Var[g]"),
    "mean_norm": (0.0, "norm of E[g], debiased: root of the sum of m^2 - s^2/R, clipped at 0"),
}
# Mean and quartiles of |N(0, 1)|: what the ratio metrics read in units of 1/sqrt(R) when the mean is zero.
_HALF_NORMAL = {"snr_mean": math.sqrt(2 / math.pi), "snr_q25": 0.318639, "snr_median": 0.674490, "snr_q75": 1.150349}
_NORMAL_95 = 1.644854


@dataclasses.dataclass(frozen=True)
class Reading:
    """One number with its uncertainty.

    Attributes:
        metric: key of ``METRICS``.
        block: name of the block.
        interval: value, standard error and 95 % interval.
        floor: what pure noise would read; NaN where that has no meaning.
        n_coordinates: coordinates that entered.
        n_dropped: coordinates of the block left out because their variance was exactly zero.
    """

    metric: str
    block: str
    interval: Interval
    floor: float
    n_coordinates: int
    n_dropped: int

    def of_average(self, count: int) -> "Reading":
        """The same reading for an average of ``count`` independent units."""
        factor = float(count) ** METRICS[self.metric][0]
        scaled = Interval(*(factor * part for part in dataclasses.astuple(self.interval)))
        return dataclasses.replace(self, interval=scaled, floor=factor * self.floor)


def read(moments: Moments, blocks: dict[str, slice]) -> list[Reading]:
    """All metrics of all blocks.

    Args:
        moments: moments of the unit gradient, P coordinates.
        blocks: block name to its coordinates.
    """
    _, _, variance = moments.merged()
    moving = variance > 0
    quadratic = _quadratics(moments, blocks, moving)
    ratios = _ratios(moments, blocks)
    rows = []
    for name, block in blocks.items():
        kept = int(moving[block].sum())
        noise = _noise_point(moments, block, variance)
        floors = {metric: unit / math.sqrt(moments.draws) for metric, unit in _HALF_NORMAL.items()}
        floors |= {"snr_pooled": math.sqrt(noise), "snr_pooled_squared": noise}
        for metric, interval in (ratios[name] | quadratic[name]).items():
            entered = block.stop - block.start if metric in ("variance", "mean_norm") else kept
            dropped = block.stop - block.start - entered
            rows.append(Reading(metric, name, interval, floors.get(metric, math.nan), entered, dropped))
    return rows


def _sums(merged: tuple[int, Array, Array], blocks: Iterable[slice], moving: Mask) -> Array:
    """Per block (signed snr_pooled^2, sum of variances, signed squared norm of the mean): ``[blocks, 3]``."""
    draws, mean, variance = merged
    signed = mean**2 - variance / draws
    rows = []
    for block in blocks:
        trace, inside = variance[block].sum(), moving[block]
        rows.append((signed[block][inside].sum() / trace if trace > 0 else math.nan, trace, signed[block].sum()))
    return np.array(rows)


def _quadratics(moments: Moments, blocks: dict[str, slice], moving: Mask) -> dict[str, dict[str, Interval]]:
    full = _sums(moments.merged(), blocks.values(), moving)
    replicates = np.stack([_sums(moments.merged(row), blocks.values(), moving) for row in delete_one(moments.blocks)])
    errors = jackknife_stderr(replicates)
    found = {}
    for i, name in enumerate(blocks):
        squared, trace, norm = (student(full[i, j], errors[i, j], moments.blocks) for j in range(3))
        found[name] = {
            "snr_pooled": root_of_square(squared),
            "snr_pooled_squared": squared,
            "variance": clipped(trace),
            "mean_norm": root_of_square(norm),
        }
    return found


def _quartiles(merged: tuple[int, Array, Array], blocks: Iterable[slice]) -> Array:
    """Per block (mean, lower quartile, median, upper quartile) of |m|/s where s > 0: ``[blocks, 4]``."""
    _, mean, variance = merged
    rows = []
    for block in blocks:
        inside = variance[block] > 0
        ratio = np.abs(mean[block][inside]) / np.sqrt(variance[block][inside])
        rows.append((ratio.mean(), *np.quantile(ratio, (0.25, 0.5, 0.75))) if ratio.size else (math.nan,) * 4)
    return np.array(rows)


def _ratios(moments: Moments, blocks: dict[str, slice]) -> dict[str, dict[str, Interval]]:
    full = _quartiles(moments.merged(), blocks.values())
    halves = half_samples(moments.blocks)
    errors = half_sample_stderr(np.stack([_quartiles(moments.merged(row), blocks.values()) for row in halves]))
    metrics = ("snr_mean", "snr_q25", "snr_median", "snr_q75")
    return {
        name: {metric: clipped(student(full[i, j], errors[i, j], moments.blocks)) for j, metric in enumerate(metrics)}
        for i, name in enumerate(blocks)
    }


def _noise_point(moments: Moments, block: slice, variance: Array) -> float:
    """95 % point of snr_pooled_squared under pure noise, 1.645 sqrt(2/P_eff)/R.

    P_eff = (tr S)^2 / tr S^2 with S the covariance of a draw. tr S^2 comes from products of different centred block means
    (a diagonal product would see the noise itself); centring makes their mean -tr S/G, which is taken out.
    """
    G, trace = moments.blocks, float(variance[block].sum())
    if trace == 0:
        return math.nan
    offsets = moments.offsets[:, block]
    centred = np.sqrt(moments.counts)[:, None] * (offsets - moments.counts @ offsets / moments.counts.sum())
    products = centred @ centred.T + trace / G
    off_diagonal = products[~np.eye(G, dtype=bool)]
    trace_of_square = float(np.square(off_diagonal).mean()) / ((1 - 1 / G) ** 2 + 1 / G**2)
    effective = min(max(1.0, trace**2 / trace_of_square), float(block.stop - block.start))
    return _NORMAL_95 * math.sqrt(2 / effective) / moments.draws
