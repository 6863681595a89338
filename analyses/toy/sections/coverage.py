"""How often 95 % intervals cover: synthetic gradients of known SNR, and the toy at K = 1."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analyses.toy.sections.toy import toy
from snrkit.diagnostics.intervals import Interval
from snrkit.diagnostics.metrics.base import Reading
from snrkit.diagnostics.metrics.bias import bias
from snrkit.diagnostics.metrics.strength import read
from snrkit.diagnostics.moments import BlockMoments, Moments
from snrkit.diagnostics.relations import block_means
from snrkit.types import Array

G, P = 20, 40
METRICS = ("variance", "snr_mean", "snr_median", "snr_pooled_squared")


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """Coverage of each interval in each case."""
    own = settings["coverage"]
    R, repeats = own["draws"], own["replications"]
    rows = []
    for level in (0.0, 0.3, 1.0, 3.0, 10.0):
        # Half-normal SNRs with root mean square level/sqrt(R).
        mean = level / math.sqrt(R) * np.abs(np.random.default_rng(0).standard_normal(P))
        rows += _case(
            f"synthetic, level {level:g}", lambda g, m=mean: m + g.standard_normal((R, P)), mean, np.ones(P), repeats
        )
    rows += _toy(settings, R, repeats)
    text = (
        f"## Coverage of nominal 95 % intervals\n\n{repeats} replications, R = {R} draws, {G} blocks, {P} coordinates "
        "(toy: 20). level = sqrt(R) times the root mean square SNR. snr_mean and snr_median: coverage of the reading "
        "expected at R draws. A coverage of 0.95 has a standard error of 0.007 here. Wanted: 0.93 to 0.97, and at least "
        "0.93 where R snr_pooled^2 < 10 or the truth is 0. Above 0.97 lie snr_mean and snr_median at levels 0 to 1: "
        "below the floor a half-sample of draws spreads more than it should (a reading of noise is not linear in the "
        "draws), so those intervals are too wide, never too narrow."
    )
    return text, pd.DataFrame(rows, columns=["case", "metric", "coverage", "R snr_pooled^2"])


def _case(name: str, draw: Any, mean: Array, variance: Array, repeats: int) -> list[tuple[str, str, float, float]]:
    found: dict[str, list[Interval]] = {metric: [] for metric in METRICS}
    zero: list[Interval] = []
    R = len(draw(np.random.default_rng(0)))
    for seed in range(repeats):
        draws = draw(np.random.default_rng(seed + 1))
        moments = _moments(draws)
        for reading in read(moments, {"all": slice(0, draws.shape[1])}):
            _keep(reading, found)
        own = block_means(moments, slice(0, draws.shape[1]))
        zero.append(bias(own, np.broadcast_to(mean, own.shape))["bias_squared"])
    strength = float((mean**2).sum() / variance.sum())
    truth = {"variance": float(variance.sum()), "snr_pooled_squared": strength}
    rows = []
    for metric, intervals in found.items():
        target = truth.get(metric, float(np.mean([i.value for i in intervals])))
        rows.append((name, metric, _coverage(intervals, target), R * strength))
    return [*rows, (name, "bias_squared, truth 0", _coverage(zero, 0.0), R * strength)]


def _keep(reading: Reading, found: dict[str, list[Interval]]) -> None:
    if reading.metric in found:
        found[reading.metric].append(reading.interval)


def _coverage(intervals: list[Interval], truth: float) -> float:
    return float(np.mean([i.low <= truth <= i.high for i in intervals]))


def _moments(draws: Array) -> Moments:
    parts = np.array_split(draws, G)
    return Moments([BlockMoments(len(p), p.mean(0), p.var(0, ddof=1), np.zeros((1, 1, 3))) for p in parts])


def _toy(settings: dict[str, Any], R: int, repeats: int) -> list[tuple[str, str, float, float]]:
    """The toy at K = 1, where a minibatch gradient of b is exactly normal with known mean and variance."""
    model, x = toy(settings, settings["perturb"], settings["seed"])
    exact = model.gradient_moments(x)
    mean, variance = exact["b"][0].mean(0).double().numpy(), exact["b"][1].sum(0).double().numpy() / len(x) ** 2
    sd = np.sqrt(variance)
    return _case("toy b, K = 1", lambda g: mean + sd * g.standard_normal((R, len(mean))), mean, variance, repeats)
