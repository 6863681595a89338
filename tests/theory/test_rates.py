"""Every registered estimator's rates of the SNR in M and K, held against what it declares."""

import dataclasses

import pytest
import torch

from snrkit.estimators.base import Theory
from snrkit.models.gaussian import Gaussian
from tests.support.rates import (
    ALLOWED,
    DIM,
    DRAWS,
    EVERY,
    EVERYTHING,
    MOST,
    NETWORKS,
    POINTS,
    WIDEST,
    Rate,
    mistaken,
    name_of,
    toy,
)
from tests.zoo import numbers

every = pytest.mark.parametrize("estimator", EVERY, ids=name_of)


def test_the_toys_derivatives_are_autograds():
    """The formulas above, for the first data point of the first draw."""
    values, moved = toy()
    x = 1.4 * numbers(1, POINTS, DIM)
    model = Gaussian.optimum(x.mean(0) + 0.5 * numbers(2, DIM))
    with torch.no_grad():
        model.b.add_(0.03 * numbers(3, DIM))
    noise = numbers(4, DRAWS * POINTS, 1, MOST, DIM)[:1], numbers(5, DRAWS * POINTS, 1, MOST, 2 * DIM)[:1]
    parts = model(x[:1], torch.cat(noise, dim=-1), parts=EVERYTHING).present()
    assert set(parts) == set(values) == set(moved)
    for k in (0, MOST - 1):
        for name, part in parts.items():
            value = part[0, 0, k]
            torch.testing.assert_close(values[name][0, k], value.detach())
            for parameter, known in zip((model.b, model.mu), moved[name][:2], strict=True):
                derived = torch.autograd.grad(value, parameter, retain_graph=True, materialize_grads=True)[0]
                expected = torch.zeros(DIM, dtype=torch.float64) if known is None else known[0, k]
                torch.testing.assert_close(derived, expected, rtol=1e-9, atol=1e-11)


@every
def test_rates_are_as_declared(estimator):
    assert mistaken(estimator, estimator.theory) == []


@pytest.mark.rest_slow
@every
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_wrong_rate_would_be_seen(estimator, network, place):
    """The check has teeth: each single rate inverted, halved or tripled fails it, and no other is blamed."""
    field = {"inference": "phi", "generative": "theta"}[network]
    for factor in (-1, 0.5, 3):
        wrong = list(getattr(estimator.theory, field))
        wrong[place] *= factor
        theory: Theory = dataclasses.replace(estimator.theory, **{field: tuple(wrong)})
        assert [case[:2] for case in mistaken(estimator, theory)] == [(network, "MK"[place])]


def test_a_fit_too_wide_tells_nothing():
    assert Rate(0.5, WIDEST / 2).is_told(0.5)
    assert not Rate(0.5, 2 * WIDEST).is_told(0.5)
    assert ALLOWED + 4 * WIDEST < 0.25  # so that half a rate of 1/2 is never taken for it
