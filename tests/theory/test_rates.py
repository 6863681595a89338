"""Every registered estimator's rates of the SNR in M and K, held against what it declares."""

import dataclasses

import pytest
import torch

from snrkit.estimators.base import Theory
from snrkit.models.gaussian import Gaussian
from tests.support.estimators import EVERY, VARIANTS, title
from tests.support.rates import ALLOWED, DIM, DRAWS, MOST, NETWORKS, POINTS, WIDEST, Rate, mistaken, toy
from tests.zoo import numbers

every = pytest.mark.parametrize("estimator", [*EVERY, *VARIANTS], ids=title)


def test_the_toys_derivatives_are_autograds():
    """The formulas above, for the first data point of the first draw."""
    x = 1.4 * numbers(1, POINTS, DIM)
    model = Gaussian.optimum(x.mean(0) + 0.5 * numbers(2, DIM))
    with torch.no_grad():
        model.b.add_(0.03 * numbers(3, DIM))
    weights = model(x[:1], numbers(4, DRAWS * POINTS, 1, MOST, DIM)[:1], path=True)
    dreamt = (model.mu + numbers(5, DRAWS * POINTS, MOST, DIM)[:1]).detach()
    seen = dreamt + numbers(6, DRAWS * POINTS, MOST, DIM)[:1]
    for k in (0, MOST - 1):
        values = {name: part[0, 0, k] for name, part in weights.present().items()}
        values["log_q_sleep"] = model.encode(seen[:, k]).log_prob(dreamt[:, k][:, None, None]).squeeze()
        assert values.keys() == toy().keys()
        for name, (own, in_b, in_mu) in toy().items():
            torch.testing.assert_close(own[0, k], values[name].detach())
            for parameter, expected in ((model.b, in_b), (model.mu, in_mu)):
                (found,) = torch.autograd.grad(values[name], parameter, retain_graph=True, materialize_grads=True)
                torch.testing.assert_close(found, torch.zeros_like(found) if expected is None else expected[0, k])


@every
def test_rates_are_as_declared(estimator):
    assert mistaken(estimator, estimator.theory) == []


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
