"""Latent means and active units: one layer exactly, further layers by debiased Monte Carlo."""

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.evaluation import latents
from snrkit.evaluation.bounds import evaluate
from snrkit.evaluation.latents import LayerMeans, active_units, latent_means
from tests.zoo import D, hierarchical, images, toy

N = 50


def exact(means):
    return LayerMeans(means, np.zeros_like(means), 1)


def test_active_units_of_known_variances():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((N, 5))
    z = (z - z.mean(0)) / z.std(0, ddof=1)
    # Variances 0, 0.0099, 0.0101, 1 and 4 to rounding: three are above 0.01.
    (score,) = active_units([exact(z * np.sqrt([0, 0.0099, 0.0101, 1, 4]) + 3)])
    assert (score.metric, score.value, score.layer, score.dimensions) == ("active_units", 3, 0, 5)
    assert 0 < score.stderr < 1
    assert "of 5" in score.definition
    assert "50 points" in score.definition
    assert active_units([exact(z * 2)])[0].stderr == 0


def test_layers_have_their_own_names():
    scores = active_units([exact(np.ones((N, 3))), LayerMeans(np.ones((N, 2)), np.zeros((N, 2)), 1000)])
    told = [(score.metric, score.layer, score.dimensions) for score in scores]
    assert told == [("active_units_1", 1, 3), ("active_units_2", 2, 2)]
    assert "1000 samples each" not in scores[0].definition
    assert "1000 samples each" in scores[1].definition


def test_the_noise_of_estimated_means_is_not_taken_for_activity():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((2000, 3)) * np.sqrt([0.005, 0.02, 0.05])
    truth = rng.standard_normal((2000, 3)) * np.sqrt([0.02, 0, 0.005])
    measured = LayerMeans(truth + noise, np.tile([0.005, 0.02, 0.05], (2000, 1)), 10)
    assert active_units([measured])[0].value == 1
    assert active_units([exact(measured.means)])[0].value == 3


def test_means_of_a_single_layer_are_exact():
    model, x = toy(points=6)
    (layer,) = latent_means(model, x, Streams(0))
    np.testing.assert_allclose(layer.means, (x @ model.A.T + model.b).detach().numpy(), rtol=1e-12)
    assert (layer.variances == 0).all()


def test_means_of_the_second_layer_are_averages_over_the_first(monkeypatch):
    model, x = hierarchical(), images()
    # Two runs of unequal length differ by their standard errors.
    lower, few = latent_means(model, x, Streams(0))
    monkeypatch.setattr(latents, "MEAN_SAMPLES", 40_000)
    _, many = latent_means(model, x, Streams(1))
    assert (few.samples, many.samples) == (1000, 40_000)
    assert (np.abs(few.means - many.means) < 4 * np.sqrt(few.variances + many.variances)).all()
    np.testing.assert_allclose(few.variances, 40 * many.variances, rtol=0.2)
    assert (few.variances > 0).all()
    np.testing.assert_allclose(lower.means, model.encoder[0](x)[0].detach().numpy(), rtol=1e-12)


def test_evaluate_reports_every_layer():
    found = {score.metric: score for score in evaluate(hierarchical(), images(), 128, Streams(0))}
    assert f"of {D - 1} " in found["active_units_1"].definition
    assert "of 1 " in found["active_units_2"].definition
    assert "active_units" not in found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_points_means_do_not_depend_on_the_others(dtype):
    model, x = hierarchical(dtype=dtype), images(dtype=dtype)
    whole, part = (latent_means(model, points, Streams(0))[1].means for points in (x, x[:2]))
    assert np.array_equal(whole[:2], part)


def test_the_standard_error_is_that_of_resampled_points():
    """By products with how often each point was picked; here by taking the points themselves."""
    rng = np.random.default_rng(2)
    z = 5 + rng.standard_normal((40, 6)) * np.sqrt([0.008, 0.009, 0.010, 0.011, 0.012, 0.0])
    layer = LayerMeans(z, np.full_like(z, 0.0005), 10)
    (score,) = active_units([layer])
    picks = np.random.Generator(np.random.PCG64DXSM(0)).integers(0, 40, size=(200, 40))
    counts = [((z[pick].var(axis=0, ddof=1) - 0.0005) > 0.01).sum() for pick in picks]
    assert score.stderr == pytest.approx(np.std(counts, ddof=1), rel=1e-12)
    assert score.value == ((z.var(axis=0, ddof=1) - 0.0005) > 0.01).sum()
    assert score.stderr > 0.3
