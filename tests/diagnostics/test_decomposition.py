"""The two parts of a random minibatch's variance."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.intervals import jackknife_stderr
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.metrics.parts import FAMILY, decompose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from tests.diagnostics.synthetic import moments_of, row, within
from tests.zoo import toy

N, P = 5, 8
MEANS = 0.3 * np.random.default_rng(0).standard_normal((N, P))
SPREADS = np.linspace(0.5, 2, N)[:, None] * np.ones(P)
DATA, MONTE_CARLO = MEANS.var(axis=0, ddof=1).sum(), (SPREADS**2).sum() / N


def draws(seed, R):
    return MEANS + SPREADS * np.random.default_rng(seed).standard_normal((R, N, P))


@pytest.mark.rest_slow
@pytest.mark.parametrize("R", [60, 67])
def test_both_parts_are_unbiased(R):
    """Also with three draws a block, where the noise in the means exceeds the spread to be found many times over."""
    assert MONTE_CARLO / 3 > 4 * DATA
    repeats = 250
    found = [decompose(moments_of(draws(seed, R)), slice(None)) for seed in range(repeats)]
    for scope in ("points", "dataset"):
        assert within([f[scope]["data_variance"].value for f in found], DATA)
        assert within([f[scope]["monte_carlo_variance"].value for f in found], MONTE_CARLO)
    covered = np.mean([f["points"]["data_variance"].low <= DATA <= f["points"]["data_variance"].high for f in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / repeats)


def test_errors_over_points_equal_leaving_each_out_by_hand():
    every = draws(1, 2000)
    found = decompose(moments_of(every), slice(None))["dataset"]
    without = [decompose(moments_of(np.delete(every, b, axis=1)), slice(None))["points"] for b in range(N)]
    for part in FAMILY.metrics:
        expected = jackknife_stderr(np.array([w[part].value for w in without]))
        assert found[part].stderr == pytest.approx(float(expected)), part
    whole = decompose(moments_of(every), slice(None))["points"]
    assert {p: i.value for p, i in whole.items()} == {p: i.value for p, i in found.items()}


def test_errors_over_draws_equal_leaving_each_block_out_by_hand():
    every, G = draws(2, 200), 20
    found = decompose(moments_of(every, G), slice(None))["points"]["data_variance"]
    parts = np.array_split(every, G)
    without = [moments_of(np.concatenate(parts[:g] + parts[g + 1 :]), G - 1) for g in range(G)]
    values = np.array([decompose(w, slice(None))["points"]["data_variance"].value for w in without])
    assert found.stderr == pytest.approx(float(jackknife_stderr(values)))


def test_critical_m_is_undefined_without_spread_between_points():
    """Equal means; of many seeds some find the data part negative."""
    spread = [np.random.default_rng(seed).standard_normal((60, N, P)) for seed in range(8)]
    found = [decompose(moments_of(s), slice(None))["points"] for s in spread]
    negative = [f for f in found if f["data_variance"].value <= 0]
    assert negative
    assert all(math.isnan(f["critical_M"].value) for f in negative)


def test_toy_at_one_sample_equals_the_closed_form():
    model, x = toy(points=7)
    table = diagnose(model, x, Plan(estimators="iwae", K=1, M=(1, 3), draws=1000, seed=1)).table
    exact = model.gradient_moments(x)
    for block, names in (("inference", ("A", "b")), ("generative", ("mu",)), ("A", ("A",)), ("all", ("A", "b", "mu"))):
        means = torch.cat([exact[n][0].flatten(1) for n in names], 1)
        data, noise = means.var(0).sum(), torch.cat([exact[n][1].flatten(1) for n in names], 1).sum(1).mean()
        for M in (1, 3):
            for metric, truth in (
                ("data_variance", data),
                ("monte_carlo_variance", noise / M),
                ("critical_M", noise / data),
            ):
                found = row(table, metric, block, M=M, scope="points")
                assert abs(found.value - float(truth)) < 4 * found.stderr, (block, M, metric)
                assert found.stderr < 0.1 * found.value


def test_random_minibatches_have_the_predicted_variance():
    """Points drawn with replacement, fresh noise each time: (1/B) data + 1/(B M) Monte Carlo, by brute force.

    The n points are all there is to draw from, so their variance with divisor n counts.
    """
    n, B, M, K, minibatches = 6, 3, 2, 4, 500
    model, x = toy(points=n, dim=2)
    problem = Problem.units(model, x, K, Streams(6))
    R = minibatches * B * M
    tensors = VmapEngine().gradients(
        problem, build_estimator("iwae", {}), range(n), range(2 * R), PassSize(9000, 10**6)
    )
    units = np.concatenate([torch.cat([t.flatten(2) for t in part], 2).numpy() for part in tensors])
    parts = decompose(moments_of(units[:R]), slice(None))["points"]
    predicted = parts["data_variance"].value * (n - 1) / n / B + parts["monte_carlo_variance"].value / (B * M)

    fresh = units[R:].reshape(minibatches, B, M, n, -1)
    chosen = np.random.default_rng(7).integers(0, n, (minibatches, B))
    picked = np.take_along_axis(fresh, chosen[:, :, None, None, None], axis=3)[:, :, :, 0]
    gradients = picked.mean((1, 2))
    squares = ((gradients - gradients.mean(0)) ** 2).sum(1) * minibatches / (minibatches - 1)
    error = np.hypot(squares.std(ddof=1) / math.sqrt(minibatches), parts["data_variance"].stderr / B)
    assert abs(squares.mean() - predicted) < 4 * error
    for part in (parts["data_variance"].value / B, parts["monte_carlo_variance"].value / (B * M)):
        assert part > 5 * error  # leaving either part out would be seen


def test_the_first_blocks_alone_say_what_they_would_by_themselves():
    whole, few = moments_of(draws(3, 60), G=20), moments_of(draws(3, 60)[:18], G=6)
    for scope in ("points", "dataset"):
        one, two = (decompose(moments, slice(None))[scope].values() for moments in (whole.first(6), few))
        np.testing.assert_array_equal([dataclasses.astuple(i) for i in one], [dataclasses.astuple(i) for i in two])
