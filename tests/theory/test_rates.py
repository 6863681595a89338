"""Every registered estimator's rates of the SNR in M and K, held against what it declares."""

import dataclasses

import pytest
import torch

from snrkit.estimators.base import Theory
from snrkit.models.gaussian import Gaussian
from tests.support.rates import ALLOWED, DIM, DRAWS, EVERY, MOST, NETWORKS, POINTS, WIDEST, Rate, mistaken, toy
from tests.zoo import numbers

every = pytest.mark.parametrize("estimator", EVERY, ids=lambda e: e.name)


def test_the_toys_derivatives_are_autograds():
    """The formulas above, for the first data point of the first draw."""
    leaves, in_b, path_in_b, in_mu = toy()
    x = 1.4 * numbers(1, POINTS, DIM)
    model = Gaussian.optimum(x.mean(0) + 0.5 * numbers(2, DIM))
    with torch.no_grad():
        model.b.add_(0.03 * numbers(3, DIM))
    weights = model(x[:1], numbers(4, DRAWS * POINTS, 1, MOST, DIM)[:1], path=True)
    for k in (0, MOST - 1):
        log_p, log_q, log_q_path = (part[0, 0, k] for part in (weights.log_p, weights.log_q, weights.log_q_path))
        torch.testing.assert_close(
            [part[0, k] for part in leaves], [log_p.detach(), log_q.detach(), log_q_path.detach()]
        )
        derived = [
            torch.autograd.grad(value, parameter, retain_graph=True)[0]
            for value, parameter in ((log_p, model.b), (log_q_path, model.b), (log_p, model.mu))
        ]
        torch.testing.assert_close(derived, [in_b[0, k], path_in_b[0, k], in_mu[0, k]])
        assert torch.autograd.grad(log_q, model.b, retain_graph=True)[0].abs().max() < 1e-12


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
