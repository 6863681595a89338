"""Evaluation against the Gaussian toy's exact marginal, and against plain formulas."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import snrkit.training.evaluate as module
from snrkit.errors import NonFiniteError, SpecError
from snrkit.streams import Streams
from snrkit.training.evaluate import evaluate, point_scores, sample_log_weights
from tests.zoo import images, mlp, toy

N, SAMPLES = 6, 64 * 21


@pytest.fixture
def near():
    """A toy close to its optimum, q nearly as good as it can be, and 6 points."""
    return toy(points=N, perturb=0.05)


def test_bounds_bracket_the_exact_marginal(near):
    model, x = near
    exact = model.log_marginal(x).detach().numpy()
    runs = [point_scores(model, x, SAMPLES, Streams(seed)) for seed in range(25)]
    iwae, log_p, elbo = (np.array([getattr(run, name) for run in runs]) for name in ("iwae_64", "log_p", "elbo"))

    def mean_and_error(values):
        return values.mean(0), values.std(0, ddof=1) / math.sqrt(len(runs))

    for lower, upper in ((elbo, iwae), (iwae, log_p), (log_p, np.tile(exact, (25, 1)))):
        gap, error = mean_and_error(upper - lower)
        assert (gap > -4 * error).all()
    # The first two are gaps one can see; the last has all but closed.
    assert (mean_and_error(iwae - elbo)[0] > 0.05).all()
    value, error = mean_and_error(log_p)
    assert (error < 0.01).all()
    # The bias of the 1344-sample bound is about -Var(w)/(2 K p^2).
    assert (np.abs(value - exact) < 4 * error + 2e-3).all()


def test_five_thousand_samples_are_close_at_every_point(near):
    model, x = near
    scores = point_scores(model, x, 5000, Streams(1))
    # sd of log_p is sd(w/p)/sqrt(K) = sqrt((K/ESS - 1)/K).
    error = np.sqrt((5000 / scores.ess - 1) / 5000)
    assert (np.abs(scores.log_p - model.log_marginal(x).detach().numpy()) < 4 * error).all()


def test_against_plain_formulas(near):
    model, x = near
    scores = point_scores(model, x, 150, Streams(3))
    for point in range(N):
        noise = Streams(3).normal("evaluate", (point,), (1, 1, 150, 4), dtype=torch.float64, device=x.device)
        w = np.exp(model(x[point : point + 1], noise).log_w.detach().numpy().ravel())
        groups = w[:128].reshape(2, 64)
        assert scores.elbo[point] == pytest.approx(np.log(w).mean(), rel=1e-12)
        assert scores.log_p[point] == pytest.approx(np.log(w.mean()), rel=1e-12)
        assert scores.iwae_64[point] == pytest.approx(np.log(groups.mean(1)).mean(), rel=1e-12)
        assert scores.ess[point] == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)
        assert scores.ess_64[point] == pytest.approx((groups.sum(1) ** 2 / (groups**2).sum(1)).mean(), rel=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 64, 100_000])
@pytest.mark.parametrize("make", [lambda: toy(points=N), lambda: (mlp(), images(points=N))], ids=["toy", "mlp"])
def test_streaming_changes_nothing(monkeypatch, make, rows):
    model, x = make()
    reference = sample_log_weights(model, x, 150, Streams(0))[2]
    monkeypatch.setattr(module, "_ROWS", rows)
    streamed = sample_log_weights(model, x, 150, Streams(0))[2]
    assert streamed.shape == (150,)
    torch.testing.assert_close(streamed, reference, rtol=0, atol=1e-10)


def test_a_points_score_does_not_depend_on_the_others(near):
    model, x = near
    whole, part = point_scores(model, x, 64, Streams(0)), point_scores(model, x[:3], 64, Streams(0))
    assert np.array_equal(whole.log_p[:3], part.log_p)


def test_scores_are_means_with_standard_errors_over_points(near):
    model, x = near
    points = point_scores(model, x, SAMPLES, Streams(0))
    found = {score.metric: score for score in evaluate(model, x, SAMPLES, Streams(0))}
    assert list(found) == ["iwae_64", "log_p", "kl_q_p", "elbo", "ess_64", "ess", "active_units"]
    for name, values in (("log_p", points.log_p), ("kl_q_p", points.log_p - points.iwae_64), ("ess", points.ess)):
        assert found[name].value == pytest.approx(values.mean(), rel=1e-12)
        assert found[name].stderr == pytest.approx(values.std(ddof=1) / math.sqrt(N), rel=1e-12)
    assert str(SAMPLES) in found["log_p"].definition
    assert "21 groups" in found["iwae_64"].definition


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("perturb", [0, 0.6])
def test_kl_is_never_negative_at_any_point(seed, perturb):
    model, x = toy(seed=seed, points=N, perturb=perturb)
    points = point_scores(model, x, 64 * 5, Streams(seed))
    assert (points.log_p - points.iwae_64 >= -1e-12).all()
    assert (points.ess_64 >= 1).all()
    assert (points.ess_64 <= 64 + 1e-9).all()


def test_with_64_samples_both_bounds_are_one():
    model, x = toy(points=N)
    points = point_scores(model, x, 64, Streams(0))
    np.testing.assert_allclose(points.log_p, points.iwae_64, rtol=1e-14)


def test_modes_are_left_as_they_were():
    model = mlp()
    model.train()
    model.decoder.eval()
    evaluate(model, images(points=2), 128, Streams(0))
    assert (model.training, model.encoder.training, model.decoder.training) == (True, True, False)
    model.decoder = nn.Sequential(nn.Linear(4, 8))  # no longer fits 9 pixels
    with pytest.raises(SpecError):
        evaluate(model, images(points=2), 128, Streams(0))
    assert model.encoder.training


def test_evaluation_happens_in_evaluation_mode():
    model = mlp()
    model.encoder.insert(0, nn.Dropout(0.5))
    first, again = (point_scores(model, images(points=3), 64, Streams(0)).elbo for _ in range(2))
    assert np.array_equal(first, again)
    assert model.encoder[0].training


@pytest.mark.parametrize(("samples", "points", "argument"), [(127, 5, "--samples"), (128, 1, "--points")])
def test_too_few(samples, points, argument):
    model, x = toy(points=points)
    with pytest.raises(SpecError) as caught:
        evaluate(model, x, samples, Streams(0))
    assert caught.value.argument == argument


def test_points_of_the_wrong_size():
    with pytest.raises(SpecError, match="fails on data of shape"):
        evaluate(mlp(), images(points=3, pixels=16), 128, Streams(0))


def test_parameters_that_are_nan():
    model, x = toy(points=3)
    with torch.no_grad():
        model.mu.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="at 3 points, the first test point 0"):
        evaluate(model, x, 128, Streams(0))
