"""Bias, cosine and noise scale: on synthetic block means whose truth is known, and on the toy."""

import math

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.intervals import jackknife_stderr
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.metrics.bias import bias
from snrkit.diagnostics.metrics.strength import noise_scale
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.relations import across, block_means
from snrkit.diagnostics.store import Store
from snrkit.diagnostics.worker import Worker
from snrkit.models.gaussian import Gaussian
from tests.diagnostics.synthetic import row, within
from tests.zoo import images, toy, users

G, P, REPEATS = 20, 30, 200
TARGET = np.linspace(-0.4, 0.9, P)
TILT = 0.3 + np.sin(np.arange(P))  # not orthogonal to the target


def pair(seed, difference, noise):
    """Block means of an estimator and of its target, which lies ``difference`` away."""
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((2, G, P)) * np.linspace(0.2, 0.6, P)
    target = {"paired": 0.8 * first + 0.3 * second, "unpaired": second, "exact": np.zeros((G, P))}[noise]
    return TARGET + difference * TILT + first, TARGET + target


@pytest.mark.rest_slow
@pytest.mark.parametrize("noise", ["paired", "unpaired", "exact"])
@pytest.mark.parametrize("difference", [0.0, 0.03, 0.3])
def test_bias_is_unbiased_and_its_interval_covers(difference, noise):
    truth = difference**2 * (TILT**2).sum()
    found = [bias(*pair(seed, difference, noise))["bias_squared"] for seed in range(REPEATS)]
    assert within([f.value for f in found], truth)
    covered = np.mean([f.low <= truth <= f.high for f in found])
    # The delete-one jackknife is conservative where the quadratic is degenerate, so only the lower side is held to 95 %.
    assert covered >= (0.93 if difference == 0 else 0.95 - 4 * math.sqrt(0.95 * 0.05 / REPEATS))
    if difference == 0.3:
        assert covered <= 0.95 + 4 * math.sqrt(0.95 * 0.05 / REPEATS)


def test_relative_bias_and_norm_are_roots_of_the_squares():
    own, target = pair(0, 0.3, "unpaired")
    found = bias(own, target)
    norm = across(target @ target.T)
    assert found["bias_norm"].value == pytest.approx(math.sqrt(found["bias_squared"].value))
    assert found["bias_relative"].value == pytest.approx(math.sqrt(found["bias_squared"].value / norm))


def test_equal_means_far_from_zero_have_no_bias_by_rounding():
    own = pair(1, 0.0, "exact")[0]
    assert abs(bias(own + 1e4, own + (1e4 + 1e-5))["bias_squared"].value / (P * 1e-10) - 1) < 1e-5


@pytest.mark.parametrize("noise", ["paired", "unpaired", "exact"])
def test_cosine(noise):
    """Exactly the closed form without noise, and debiased with it: noise alone would shrink it by several errors."""
    truth = (TARGET + 0.3 * TILT) @ TARGET / np.linalg.norm(TARGET + 0.3 * TILT) / np.linalg.norm(TARGET)
    constant = bias(np.tile(TARGET + 0.3 * TILT, (G, 1)), np.tile(TARGET, (G, 1)))["bias_cosine"]
    assert constant.value == pytest.approx(truth)
    assert constant.stderr == pytest.approx(0, abs=1e-12)
    found = [bias(*pair(seed, 0.3, noise))["bias_cosine"] for seed in range(REPEATS)]
    assert within([f.value for f in found], truth)
    covered = np.mean([f.low <= truth <= f.high for f in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / REPEATS)


def test_undefined_is_nan_never_a_number():
    """Block means that alternate in sign have a negative debiased norm."""
    signs = np.where(np.arange(G) % 2, 1.0, -1.0)
    none, some = signs[:, None] * TILT, np.tile(TARGET, (G, 1))
    assert across(none @ none.T) < 0
    assert math.isnan(bias(none, some)["bias_cosine"].value)
    assert math.isnan(bias(some, none)["bias_cosine"].value)
    assert math.isnan(bias(some, none)["bias_relative"].value)
    assert math.isnan(noise_scale(none @ none.T, 1.0, np.ones(G)).value)
    assert math.isnan(across(np.ones((1, 1))))


def test_noise_scale_and_its_error_are_those_of_the_definition():
    own = pair(2, 0.3, "unpaired")[0]
    traces = np.linspace(3, 4, G)

    def norm(means):
        g = len(means)
        return np.mean([means[i] @ means[j] for i in range(g) for j in range(g) if i != j])

    found = noise_scale(own @ own.T, 3.5, traces)
    assert found.value == pytest.approx(3.5 / norm(own))
    replicates = np.array([traces[g] / norm(np.delete(own, g, 0)) for g in range(G)])
    assert found.stderr == pytest.approx(float(jackknife_stderr(replicates)))


def test_theta_bias_on_the_toy_is_the_exact_one():
    """At K = 1 the mean gradient is known, and the gradient of log p(x) is known at all."""
    model, x = toy(points=6)
    plan = Plan(estimators="iwae", K=(1, 3), M=(1, 4), draws=1500, seed=3, bias="log_p")
    table = diagnose(model, x, plan).table
    own = model.gradient_moments(x)["mu"][0].mean(0)
    target = model.log_marginal_gradient(x).mean(0).detach()
    truth = {
        "bias_squared": (own - target).square().sum(),
        "bias_relative": (own - target).norm() / target.norm(),
        "bias_cosine": own @ target / own.norm() / target.norm(),
    }
    for metric, value in truth.items():
        for M in (1, 4):
            found = row(table, metric, "generative", K=1, M=M)
            assert abs(found.value - float(value)) < 4 * found.stderr, metric
    found = row(table, "bias_squared", "generative", K=1, M=1)
    assert found.value > 20 * found.stderr
    assert "exact" in found.definition
    assert row(table, "bias_squared", "generative", K=3, M=1).value < found.value - 4 * found.stderr
    assert set(table[table.metric == "bias_norm"].block) == {"generative", "mu"}


def test_dreg_is_unbiased_for_its_bound_and_stl_is_not():
    model, x = toy(points=6, perturb=0.1)
    plan = Plan(
        estimators=("iwae", "dreg", "stl"),
        K=7,
        M=1,
        draws=1500,
        seed=4,
        bias="bound",
    )
    table = diagnose(model, x, plan).table
    dreg, stl = (row(table, "bias_squared", "inference", estimator=name) for name in ("dreg", "stl"))
    assert abs(dreg.value) < 4 * dreg.stderr
    assert stl.value > 20 * stl.stderr
    assert stl.value > 20 * dreg.stderr  # so that dreg's zero says something
    assert "iwae" in dreg.definition
    # theta is iwae's own, draw by draw, only if both saw the same noise.
    for name in ("dreg", "stl"):
        assert abs(row(table, "bias_squared", "generative", estimator=name).value) < 1e-25
    assert not (table[table.estimator == "iwae"].metric == "bias_squared").any()


class Unknowing(Gaussian):
    """The toy as if its log p(x) were not known."""

    @property
    def log_marginal(self):
        raise AttributeError("unknown")


def test_target_at_k_ref_where_log_p_is_unknown():
    known, x = toy(points=5)
    model = Unknowing(*(known.get_parameter(n).detach() for n in ("mu", "A", "b")))
    plan = Plan(estimators="iwae", K=(2, 9), draws=300, seed=5, bias="log_p", K_ref=9)
    table = diagnose(model, x, plan).table
    drawer = Drawer(Worker(model, x, Streams(5), engine="vmap"), Store(None, ""), None, lambda: False)
    own, target = (drawer.moments(plan.job(plan.estimators[0], 1, K)) for K in (2, 9))
    mu = slice(20, 24)
    expected = bias(block_means(own, mu), block_means(target, mu))
    for metric, interval in expected.items():
        found = row(table, metric, "generative", K=2)
        assert (found.value, found.stderr) == pytest.approx((interval.value, interval.stderr))
    assert row(table, "bias_squared", "generative", K=9).value == pytest.approx(0, abs=1e-25)
    assert "9-sample" in row(table, "bias_squared", "generative", K=2).definition


def test_target_at_k_ref_of_a_users_model():
    table = diagnose(
        users(),
        images(),
        Plan(estimators="iwae", K=2, draws=40, bias="log_p", K_ref=11),
    ).table
    found = set(table[table.metric == "bias_squared"].block)
    assert "generative" in found
    assert not {"inference", "all", "body.0.weight"} & found
    assert torch.isfinite(torch.tensor(table[table.metric == "bias_squared"].value.to_numpy())).all()


def test_there_is_no_angle_between_two_means_that_are_both_noise():
    """Signed squares below zero, of both: their product is positive, and its root a number that means nothing."""
    noise = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    found = bias(noise, 2 * noise)
    assert math.isnan(found["bias_cosine"].value)
    assert math.isnan(found["bias_relative"].value) or found["bias_relative"].value == 0
