"""Every metric: its definition, and how it changes when units are averaged."""

import dataclasses

import numpy as np

from snrkit.diagnostics.intervals import Interval
from snrkit.diagnostics.moments import Array

_RATIO = "over coordinates of |E[g]|/sd[g]; interval of the reading expected at these draws"

# Metric -> (power of ``count`` that carries it to an average of units, definition).
METRICS: dict[str, tuple[float, str]] = {
    "snr_mean": (0.5, f"mean {_RATIO}"),
    "snr_median": (0.5, f"median {_RATIO}"),
    "snr_q25": (0.5, f"lower quartile {_RATIO}"),
    "snr_q75": (0.5, f"upper quartile {_RATIO}"),
    "snr_pooled": (0.5, "root of snr_pooled_squared clipped at 0; floor: 95 % point of pure noise"),
    "snr_pooled_squared": (
        1.0,
        "sum of m^2 - s^2/R over sum of s^2, unbiased and signed; floor: 95 % point of pure noise",
    ),
    "variance": (-1.0, "trace of Var[g]: sum over coordinates"),
    "mean_norm": (0.0, "norm of E[g], debiased: root of the sum of m^2 - s^2/R, clipped at 0"),
    "noise_scale": (-1.0, "gradient noise scale tr Var[g] / |E[g]|^2, debiased; undefined where |E[g]|^2 <= 0"),
    "bias_squared": (0.0, "squared norm of E[g] - target, unbiased and signed"),
    "bias_norm": (0.0, "root of bias_squared clipped at 0"),
    "bias_relative": (0.0, "bias_norm over the debiased norm of the target"),
    "bias_cosine": (0.0, "cosine between E[g] and the target; undefined where a debiased squared norm is <= 0"),
    "data_variance": (0.0, "trace of Var_b(E[g_b]) over data points; a random minibatch of B has 1/B of it"),
    "monte_carlo_variance": (-1.0, "mean over data points of tr Var[g_b]; a random minibatch of B has 1/B of it"),
    "critical_M": (0.0, "M at which the Monte Carlo part of a random minibatch's variance equals the data part"),
    "ess": (0.0, "effective sample size (sum w)^2/sum w^2 of K samples, mean over data points and draws"),
    "largest_weight": (0.0, "largest of K normalised weights, mean over data points and draws"),
    "dsnr": (0.0, "E[|g along u| / |g across u|], u = direction of E[g] from other blocks of draws"),
    "dsnr_in_sample": (0.0, "the same with u from all draws, those projected on it included: too large under noise"),
}


@dataclasses.dataclass(frozen=True)
class Reading:
    """One number with its uncertainty.

    Attributes:
        metric: key of ``METRICS``.
        block: name of the block.
        interval: value, standard error and 95 % interval.
        floor: what pure noise would read; NaN where that has no meaning.
        n_coordinates: coordinates that entered.
        n_dropped: coordinates of the block left out because they are zero, or constant, but for rounding.
        replicates: delete-one-block values, ``[G]``, of what slopes and comparisons are made of; else empty.
        scope: ``minibatch``, or ``points`` and ``dataset`` for the parts of a random minibatch's variance.
        remark: what the reader of this very number must know, appended to the definition.
        pulled: whether it rests on too few draws, so that noise pulls it towards its floor.
        target: what a bias is the distance to, appended to the definition.
    """

    metric: str
    block: str
    interval: Interval
    floor: float = float("nan")
    n_coordinates: int = 0
    n_dropped: int = 0
    replicates: Array = dataclasses.field(default_factory=lambda: np.empty(0))
    scope: str = "minibatch"
    remark: str = ""
    pulled: bool = False
    target: str = ""

    @property
    def definition(self) -> str:
        """The metric's definition, the target and the remark."""
        target = f"target: {self.target}" if self.target else ""
        return "; ".join(part for part in (METRICS[self.metric][1], target, self.remark) if part)

    def of_average(self, count: int) -> "Reading":
        """The same reading for an average of ``count`` independent units."""
        factor = float(count) ** METRICS[self.metric][0]
        scaled = Interval(*(factor * part for part in dataclasses.astuple(self.interval)))
        return dataclasses.replace(
            self, interval=scaled, floor=factor * self.floor, replicates=factor * self.replicates
        )
