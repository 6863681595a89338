"""Readings of synthetic gradients whose truth is known."""

import math

import numpy as np
import pytest
import torch

from snrkit.diagnostics.coordinates import choose
from snrkit.diagnostics.intervals import half_sample_stderr, half_samples, jackknife_stderr, root_of_square, student
from snrkit.diagnostics.metrics.strength import read
from snrkit.diagnostics.moments import BlockMoments, Moments
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.rounding import Unchecked

P = 60


def moments_of(draws, G=20, rounding=None):
    parts = np.array_split(draws, G)
    return Moments([BlockMoments(len(p), p.mean(0), p.var(0, ddof=1), np.zeros((1, 1, 3))) for p in parts], rounding)


def reading(draws, metric, block=slice(0, P)):
    return next(r for r in read(moments_of(draws), {"b": block}) if r.metric == metric)


def gaussian(seed, R, mean, sd=1.0, P=P):
    return mean + sd * np.random.default_rng(seed).standard_normal((R, P))


def test_values_against_the_definitions():
    draws = gaussian(1, 200, np.linspace(0.1, 3, P), np.linspace(2, 1, P))
    m, s = draws.mean(0), draws.std(0, ddof=1)
    expected = {
        "snr_mean": (m / s).mean(),
        "snr_median": np.median(m / s),
        "snr_q25": np.quantile(m / s, 0.25),
        "snr_q75": np.quantile(m / s, 0.75),
        "snr_pooled_squared": (m**2 - s**2 / 200).sum() / (s**2).sum(),
        "variance": (s**2).sum(),
        "mean_norm": math.sqrt((m**2 - s**2 / 200).sum()),
    }
    assert (m > 0).all()
    for metric, value in expected.items():
        assert reading(draws, metric).interval.value == pytest.approx(value), metric


def test_pure_noise_reads_the_floor():
    """snr_mean of R draws of noise is sqrt(2/(pi R)): known spread, so compare in standard errors."""
    R, repeats = 100, 60
    values = [reading(gaussian(seed, R, 0.0), "snr_mean") for seed in range(repeats)]
    floor = values[0].floor
    assert floor == pytest.approx(math.sqrt(2 / (math.pi * R)))
    found = np.array([v.interval.value for v in values])
    # Dividing by an estimated sd makes it a Student t, whose mean modulus is larger by 1 + 3/(4 R) and a little more.
    expected = floor * (1 + 3 / (4 * R))
    assert abs(found.mean() - expected) < 4 * found.std(ddof=1) / math.sqrt(repeats)


@pytest.mark.parametrize("metric", ["snr_median", "snr_q25", "snr_q75"])
def test_pure_noise_floor_of_quantiles(metric):
    values = [reading(gaussian(seed, 400, 0.0, P=2001), metric, slice(0, 2001)) for seed in range(3)]
    for v in values:
        assert v.interval.value == pytest.approx(v.floor, rel=0.08)


def test_signed_square_of_noise_is_unbiased_and_its_point_holds():
    R, repeats = 200, 300
    values = [reading(gaussian(seed, R, 0.0), "snr_pooled_squared") for seed in range(repeats)]
    found = np.array([v.interval.value for v in values])
    assert abs(found.mean()) < 4 * found.std(ddof=1) / math.sqrt(repeats)
    above = np.mean([v.interval.value > v.floor for v in values])
    assert abs(above - 0.05) < 4 * math.sqrt(0.05 * 0.95 / repeats)
    inside = np.mean([v.interval.low <= 0 <= v.interval.high for v in values])
    assert inside > 0.95 - 4 * math.sqrt(0.05 * 0.95 / repeats)


def test_noise_point_sees_correlated_coordinates():
    """P_eff, not P, sets the spread of snr_pooled under noise."""
    R = 400
    loadings = np.random.default_rng(0).standard_normal((3, P))
    draws = np.random.default_rng(1).standard_normal((R, 3)) @ loadings
    S = loadings.T @ loadings
    effective = np.trace(S) ** 2 / np.trace(S @ S)
    found = reading(draws, "snr_pooled_squared").floor
    assert found == pytest.approx(1.645 * math.sqrt(2 / effective) / R, rel=0.2)


@pytest.mark.rest_slow
@pytest.mark.parametrize("metric", ["snr_pooled_squared", "variance", "snr_mean", "snr_median"])
def test_intervals_cover(metric):
    """200 replications: coverage within 4 binomial standard errors of 95 %; the slow study is in analyses/toy."""
    R, repeats = 200, 200
    mean = np.linspace(0.05, 0.6, P)
    each = [reading(gaussian(seed, R, mean), metric).interval for seed in range(repeats)]
    if metric == "snr_pooled_squared":
        truth = (mean**2).mean()
    elif metric == "variance":
        truth = float(P)
    else:
        truth = float(np.mean([e.value for e in each]))  # the reading expected at R draws
    covered = np.mean([e.low <= truth <= e.high for e in each])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / repeats)


@pytest.mark.parametrize("eps", [2.0**-52, 2.0**-23], ids=["float64", "float32"])
def test_rounding_is_not_variation(eps):
    """A few roundings of the mean are dropped like no variation at all, tens of them are not."""
    draws = gaussian(5, 200, 1.0)
    draws[:, :7] = gaussian(6, 200, -3.0, 3 * 2 * eps, P=7)
    draws[:, 7] = gaussian(7, 200, -3.0, 3 * 20 * eps, P=1)[:, 0]
    moments = moments_of(draws, rounding=Unchecked(eps, "some type", "synthetic"))
    found = {r.metric: r for r in read(moments, {"b": slice(0, P)})}
    assert found["snr_median"].n_dropped == found["snr_pooled"].n_dropped == 7
    assert found["snr_q75"].interval.value < 2
    assert found["snr_median"].floor == pytest.approx(0.674490 / math.sqrt(200))
    assert np.isnan([r.interval.value for r in read(moments, {"b": slice(0, 7)}) if r.metric.startswith("snr_")]).all()
    layout = Layout(("w",), (torch.Size([P]),), ("generative",))
    chosen = choose(["median"], layout, moments)
    assert 8 <= next(iter(chosen.values())) < P


def test_a_coordinate_that_moves_in_few_blocks_is_still_in_the_others():
    """Half-samples of blocks without them: what float64 leaves of its variance is rounding, and no ratio."""
    draws = gaussian(8, 400, 0.5)
    draws[:, 0] = 0.1
    draws[:20, 0] = np.linspace(3, 4, 20)
    found = reading(draws, "snr_mean")
    assert found.interval.stderr < 0.1
    m, s = draws.mean(0), draws.std(0, ddof=1)
    assert found.interval.value == pytest.approx((m / s).mean())


def test_still_coordinates_are_counted_not_silently_dropped():
    draws = gaussian(2, 100, 0.5)
    draws[:, :7] = 0.3
    found = reading(draws, "snr_mean")
    assert (found.n_coordinates, found.n_dropped) == (P - 7, 7)
    moving = draws[:, 7:]
    assert found.interval.value == pytest.approx((moving.mean(0) / moving.std(0, ddof=1)).mean())
    assert reading(draws, "mean_norm").n_dropped == 0


def test_a_block_that_never_moves_reads_nan_not_infinity():
    draws = np.full((50, P), 0.3)
    for metric in ("snr_mean", "snr_median", "snr_pooled", "snr_pooled_squared"):
        found = reading(draws, metric)
        assert math.isnan(found.interval.value)
        assert found.n_dropped == P


def test_average_of_units():
    draws = gaussian(3, 3000, 0.2)
    averaged = draws.reshape(600, 5, P).mean(1)
    metrics = [r.metric for r in read(moments_of(draws), {"b": slice(0, P)})]
    for metric, rows in ((m, (reading(draws, m).of_average(5), reading(averaged, m))) for m in metrics):
        by_algebra, by_hand = rows
        assert by_algebra.interval.value == pytest.approx(by_hand.interval.value, rel=0.1), metric
        if not math.isnan(by_hand.floor):
            assert by_algebra.floor == pytest.approx(by_hand.floor, rel=0.3), metric


def test_half_samples_are_balanced():
    halves = half_samples(20)
    assert (halves.sum(1) == 10).all()
    assert len(set(halves.sum(0))) == 1


def test_resampling_errors_of_a_mean():
    """For a plain mean both resamplings estimate sd/sqrt(n)."""
    blocks = np.random.default_rng(4).standard_normal((20, 500))
    n = 20
    expected = blocks.std(0, ddof=1) / math.sqrt(n)
    total = blocks.sum(0)
    np.testing.assert_allclose(jackknife_stderr((total - blocks) / (n - 1)), expected)
    halves = half_samples(n)
    ratio = half_sample_stderr(halves @ blocks / 10) / expected
    assert ratio.mean() == pytest.approx(1, abs=0.05)


def test_root_of_a_square_is_clipped():
    low = root_of_square(student(-0.1, 0.2, 20))
    assert (low.value, low.low) == (0.0, 0.0)
    assert math.isnan(low.stderr)
    assert low.high > 0
