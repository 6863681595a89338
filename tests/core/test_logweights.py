import math

import pytest
import torch

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, effective_sample_size, log_mean_exp, normalised, pooled
from snrkit.errors import CapabilityError
from tests.zoo import B, K, M, numbers

R = 7


def test_functions_against_their_definitions():
    log_w = numbers(1, R, B, M, K)
    w = log_w.exp()
    torch.testing.assert_close(log_mean_exp(log_w), w.mean(-1).log())
    torch.testing.assert_close(normalised(log_w), w / w.sum(-1, keepdim=True))
    torch.testing.assert_close(effective_sample_size(log_w), w.sum(-1) ** 2 / w.square().sum(-1))
    assert pooled(log_w).shape == (R, B, 1, M * K)


def test_no_overflow_at_extreme_weights():
    log_w = torch.tensor([[-2e4, -2e4 + math.log(3)]], dtype=torch.float64)
    torch.testing.assert_close(log_mean_exp(log_w), torch.tensor([-2e4 + math.log(2)], dtype=torch.float64))
    torch.testing.assert_close(effective_sample_size(log_w), torch.tensor([16 / 10], dtype=torch.float64))


def test_effective_sample_size_ends():
    assert effective_sample_size(torch.zeros(K)).item() == pytest.approx(K)
    assert effective_sample_size(torch.tensor([0.0, *[-1e4] * (K - 1)])).item() == pytest.approx(1)


@pytest.mark.parametrize("bound", [bounds.elbo, bounds.iwae, lambda log_w: bounds.ciwae(log_w, 0.3)])
def test_bounds_reduce_m_and_k_only(bound):
    assert bound(numbers(2, R, B, M, K)).shape == (R, B)


def test_iwae_normalises_over_k_not_m():
    log_w = numbers(3, B, M, K)
    expected = log_w.exp().mean(2).log().mean(1)
    torch.testing.assert_close(bounds.iwae(log_w), expected)
    swapped = log_w.exp().mean(1).log().mean(1)
    assert not torch.allclose(swapped, expected, rtol=0.01)


def test_bounds_are_ordered_and_meet_at_k_1():
    log_w = numbers(4, B, M, K)
    assert (bounds.elbo(log_w) < bounds.iwae(log_w)).all()
    assert (bounds.iwae(log_w) < bounds.iwae(pooled(log_w))).all()
    torch.testing.assert_close(bounds.elbo(log_w[..., :1]), bounds.iwae(log_w[..., :1]))
    torch.testing.assert_close(bounds.ciwae(log_w, 1.0), bounds.elbo(log_w))
    torch.testing.assert_close(bounds.ciwae(log_w, 0.0), bounds.iwae(log_w))


def test_path_weights_must_be_asked_for():
    weights = LogWeights(numbers(5, B, M, K), numbers(6, B, M, K))
    with pytest.raises(CapabilityError, match="path=True"):
        _ = weights.log_w_path


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_right_within_its_own_rounding(dtype):
    """100,000 samples are more than float16 counts to, and twice a log-weight of -40,000 is none of its numbers."""
    for log_w in (torch.full((100_000,), -500.0), torch.linspace(-40_000, -39_990, 50), torch.linspace(-3, 3, 999)):
        own = log_w.to(dtype)
        torch.testing.assert_close(log_mean_exp(own), log_mean_exp(own.double()).to(dtype))
        if len(own) < 10_000:  # as many are no number of float16
            exact = effective_sample_size(own.double())
            assert abs(float(effective_sample_size(own)) / float(exact) - 1) < 4 * torch.finfo(dtype).eps
