"""How CUDA takes the Bernoulli density, on a processor: it is the density, in value and gradient, broadcast and batched."""

import pytest
import torch
from torch.func import vmap

from snrkit.models import densities
from snrkit.models.densities import bernoulli_log_prob

SHAPE = (3, 2, 4, 99)


@pytest.fixture
def numbers():
    torch.manual_seed(1)
    logits = (30 * torch.randn(SHAPE, dtype=torch.float64)).requires_grad_()
    return torch.rand(3, 1, 1, 99, dtype=torch.float64), logits


@pytest.fixture
def few(monkeypatch):
    """What CUDA does, of every tensor."""
    monkeypatch.setattr(densities._Bernoulli, "forward", staticmethod(densities._Bernoulli._in_few_passes))


def test_it_is_the_density_in_value_and_gradient(numbers, few):
    x, logits = numbers
    log_sigmoid = torch.nn.functional.logsigmoid
    expected = (x * log_sigmoid(logits) + (1 - x) * log_sigmoid(-logits)).sum(dim=-1)
    found = bernoulli_log_prob(x, logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(found)
    gradients = [torch.autograd.grad((weights * value).sum(), logits)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_batched_it_is_the_same_rows_of_data_without_samples_of_their_own_too(numbers, few):
    x, logits = numbers
    stacked = torch.stack([logits, 2 * logits]).detach()
    found = vmap(bernoulli_log_prob, in_dims=(None, 0))(x, stacked)
    both = vmap(bernoulli_log_prob)(torch.stack([x, 1 - x]), stacked)
    alone = vmap(bernoulli_log_prob, in_dims=(0, None))(torch.stack([x, 1 - x]), stacked[0])
    for row, (own, value) in enumerate(((x, stacked[0]), (1 - x, stacked[1]))):
        torch.testing.assert_close(found[row], bernoulli_log_prob(x, value), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(both[row], bernoulli_log_prob(own, value), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(alone[row], bernoulli_log_prob(own, stacked[0]), rtol=1e-12, atol=1e-12)
