"""The analysis of every estimator draws what the package draws."""

import pytest
import torch

from analyses.estimators.sections.rows import Rows, Toy, instance, moments
from analyses.estimators.sections.slopes import cases
from snrkit.estimators.base import build_estimator
from snrkit.models.gaussian import Gaussian
from tests.support.gradients import gradients
from tests.zoo import numbers


@pytest.mark.parametrize("name", ["iwae", "dreg", "gdreg", "wake-sleep", "vae-analytic"])
def test_a_rows_gradient_is_that_of_its_data_point(name):
    toy, estimator = instance(4, 9, 0.1, 3, kept=3), build_estimator(name, {})
    model, rows = toy.model, Rows(toy, 3)
    noise = numbers(5, 3, 1, 6, 4 + 2 * 4)
    parts = estimator.needs.parts
    weights = rows(toy.x, noise if parts.sleep else noise[..., :4], parts=parts)
    theta, phi = gradients(estimator, weights, [rows.mu], [rows.b])
    for point in range(3):
        own = noise[point : point + 1]
        weights = model(toy.x[point : point + 1], own if parts.sleep else own[..., :4], parts=parts)
        expected = gradients(estimator, weights, [model.mu], [model.b])
        torch.testing.assert_close(3 * theta[0][point, 0, 0], expected[0][0])
        torch.testing.assert_close(3 * phi[0][point], expected[1][0])


def test_moments_are_those_of_the_closed_form():
    """Mean and variance of vae's gradient at K = 1, within standard errors; over several passes and blocks."""
    toy: Toy = instance(3, 8, 0.2, 1, kept=4)
    vae = build_estimator("vae", {})
    sums = moments(toy, [vae], 1, 2000, 7, most=600, blocks=4)[vae]
    exact = Gaussian.gradient_moments(toy.model, toy.x)
    for network, block in (("inference", "b"), ("generative", "mu")):
        mean, variance, error = sums[network].of()
        known_mean, known_variance = exact[block][0].mean(0), exact[block][1].sum(0) / 16
        assert float(((mean - known_mean).abs() / error.sqrt()).max()) < 4
        # Of a normal the relative error of a variance of R draws is (2/R)^(1/2); of 4 points half of it.
        assert float((variance / known_variance - 1).abs().max()) < 4 * 0.5 * (2 / 2000) ** 0.5
        assert sums[network].of([0, 1, 2])[0] != pytest.approx(mean, rel=1e-12)


def test_every_registered_estimator_is_measured_or_is_another_one_at_one_outer_sample():
    from snrkit.estimators import ESTIMATORS

    assert {case.name for case in cases()} | {"miwae", "piwae"} == set(ESTIMATORS.names)
