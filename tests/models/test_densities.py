"""Densities in every type of number, against float64."""

import math

import pytest
import torch

from snrkit import DiagonalNormal, bernoulli_log_prob, standard_normal_log_prob
from snrkit.models.densities import _Bernoulli
from tests.zoo import numbers

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)


def rounded(value, dtype):
    return value.double().to(dtype)


@HALF
@pytest.mark.parametrize("pixels", [3, 13, 98, 200, 784])
def test_bernoulli_in_half_precision(dtype, pixels):
    """98 pixels of probability 1/2: -67.9, where a product of halves would be 0 and its logarithm -inf."""
    nothing = torch.zeros(2, pixels, dtype=dtype)
    assert bernoulli_log_prob(nothing, nothing)[0] == rounded(torch.tensor(-pixels * math.log(2.0)), dtype)
    x, logits = numbers(1, 2, pixels).sigmoid().to(dtype), (3 * numbers(2, 5, 2, pixels)).to(dtype).requires_grad_()
    found = bernoulli_log_prob(x, logits)
    exact = logits.detach().double().requires_grad_()
    expected = bernoulli_log_prob(x.double(), exact)
    torch.testing.assert_close(found.detach().double(), expected.detach(), rtol=torch.finfo(dtype).eps, atol=0)
    (gradient,), (true,) = (torch.autograd.grad(v.sum(), p) for v, p in ((found, logits), (expected, exact)))
    torch.testing.assert_close(gradient.double(), true, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_bernoulli_of_extreme_logits(dtype):
    large = torch.tensor(1e4, dtype=dtype)
    for x, logit, value in ((1, large, 0), (0, large, -large), (1, -large, -large), (0, -large, 0)):
        assert bernoulli_log_prob(torch.full((1,), x, dtype=dtype), logit[None]) == value


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool], ids=str)
def test_pixels_may_be_integers(kind):
    x, logits = (numbers(1, 7) > 0).to(kind), numbers(2, 3, 7)
    torch.testing.assert_close(bernoulli_log_prob(x, logits), bernoulli_log_prob(x.double(), logits))


def test_half_precision_logits_of_full_precision_pixels():
    """As under autocast: 543.4 nats to more than the three digits of bfloat16."""
    value = bernoulli_log_prob(torch.zeros(1, 784), torch.zeros(1, 784, dtype=torch.bfloat16))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(-784 * math.log(2), rel=1e-6)


@pytest.mark.parametrize("batched", ["x", "logits", "both"])
def test_per_example_gradients_with_either_argument_batched(batched):
    """A prior with constant logits and sampled pixels: exactly what a loop gives."""
    x, logits = (numbers(1, 5, 3, 7) > 0).double(), numbers(2, 5, 7)  # each x has more axes than its logits
    over_x, over_logits = batched != "logits", batched != "x"

    def value(logits, x):
        return bernoulli_log_prob(x, logits).sum()

    dims = (0 if over_logits else None, 0 if over_x else None)
    own = logits if over_logits else logits[0], x if over_x else x[0]
    found = torch.func.vmap(torch.func.grad(value), in_dims=dims)(*own)
    each = [torch.func.grad(value)(logits[i] if over_logits else logits[0], x[i] if over_x else x[0]) for i in range(5)]
    assert torch.equal(found, torch.stack(each))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(700,), (4, 150), (3, 1, 107), (1, 1, 1), (300,)], ids=str)
@pytest.mark.parametrize("pixels", [1, 7, 49])
@pytest.mark.parametrize("of", ["all", "repeated", "each"])
def test_in_portions_no_bit_changes(monkeypatch, request, dtype, shape, pixels, of):
    """Neither of the value nor of the derivatives, however many rows and pixels there are and whose the pixels are.

    With several threads the whole falls apart into as many parts, whose ends other code computes.
    """
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(1)
    logits = (3 * numbers(1, *shape, pixels)).to(dtype).requires_grad_()
    x = (numbers(2, shape[0], *[1] * (len(shape) - 1), pixels) > 0).to(dtype)
    x = {"all": x.view(-1, pixels)[0], "repeated": x[:1].expand_as(x), "each": x}[of]
    cotangent = numbers(3, *shape).to(dtype)

    def results():
        value = bernoulli_log_prob(x, logits)
        return value.detach(), torch.autograd.grad(value, logits, cotangent)[0]

    whole = results()
    for rows in (1, 130):
        monkeypatch.setattr("snrkit.models.densities._PORTION", rows * pixels * logits.element_size())
        for one, other in zip(results(), whole, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("batched", [False, True], ids=["twice", "batched"])
def test_in_portions_derivatives_of_derivatives_and_batches_of_them(monkeypatch, batched):
    """Where nothing may be written over, nothing is."""
    x, logits = (numbers(1, 7) > 0).double(), numbers(2, 300, 7).requires_grad_()
    weights = numbers(3, 2, 300)

    def results():
        value = bernoulli_log_prob(x, logits)
        if batched:
            return torch.autograd.grad(value, logits, weights, is_grads_batched=True)[0]
        (first,) = torch.autograd.grad(value, logits, weights[0], create_graph=True)
        return torch.autograd.grad(first.square().sum(), logits)[0]

    whole = results()
    monkeypatch.setattr("snrkit.models.densities._PORTION", 1)
    assert torch.equal(results(), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_formula_for_a_gpu_gives_the_same_value(dtype):
    logits = torch.cat([30 * numbers(1, 50, 784), torch.tensor([-1e4, -90.0, 0.0, 90.0, 1e4]).repeat(50, 157)[:, :784]])
    x = (numbers(2, 784) > 0).to(dtype)
    found, expected = (f(x, logits.to(dtype)) for f in (_Bernoulli._in_few_passes, _Bernoulli._value))
    torch.testing.assert_close(found, expected, rtol=20 * torch.finfo(dtype).eps, atol=0)


def test_many_logits_of_one_image_are_taken_in_portions(monkeypatch):
    seen = []
    value = _Bernoulli._value
    monkeypatch.setattr(
        _Bernoulli, "_value", staticmethod(lambda x, logits: seen.append(len(logits)) or value(x, logits))
    )
    bernoulli_log_prob(torch.zeros(784).expand(3, 1, 1, 784), torch.zeros(3, 1, 600, 784))
    assert seen == [640, 640, 520]


@HALF
def test_normals_in_half_precision(dtype):
    """Squares of 300 are no float16; sums of 500 terms lose digits in both."""
    z = torch.full((1, 1), 300.0, dtype=dtype)
    assert standard_normal_log_prob(z) == rounded(
        -0.5 * z.double().square().sum(-1) - 0.5 * math.log(2 * math.pi), dtype
    )
    loc, scale = numbers(1, 2, 500).to(dtype), numbers(2, 2, 500).exp().to(dtype)
    z = (2 * numbers(3, 2, 1, 4, 500)).to(dtype)
    found = DiagonalNormal(loc, scale).log_prob(z)
    expected = DiagonalNormal(loc.double(), scale.double()).log_prob(z.double())
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bernoulli_derivatives_however_they_are_asked_for(dtype):
    """By autograd alone, with a graph, in batches of cotangents and under torch.func: the same bits; inputs are kept."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(3, 1, 11, generator=generator) < 0.4).to(dtype)
    logits = (3 * torch.randn(3, 5, 11, generator=generator)).to(dtype).requires_grad_()
    kept, cotangent = (x.clone(), logits.detach().clone()), torch.randn(3, 5, generator=generator).to(dtype)
    value = bernoulli_log_prob(x, logits)
    expected = (x - logits.sigmoid()) * cotangent[..., None]
    (plain,) = torch.autograd.grad(value, logits, cotangent, retain_graph=True)
    (graphed,) = torch.autograd.grad(value, logits, cotangent, create_graph=True)
    assert torch.equal(plain, expected)
    assert torch.equal(graphed, expected)
    (second,) = torch.autograd.grad(graphed.sum(), logits)
    torch.testing.assert_close(second, -(logits.sigmoid() * (1 - logits.sigmoid()) * cotangent[..., None]).detach())
    both = torch.stack([cotangent, 2 * cotangent])
    (batched,) = torch.autograd.grad(bernoulli_log_prob(x, logits), logits, both, is_grads_batched=True)
    assert torch.equal(batched, torch.stack([expected, 2 * expected]))

    def one(image, point):
        return (bernoulli_log_prob(image, point) * cotangent[0]).sum()

    each = torch.func.vmap(torch.func.grad(one, 1), (0, None))(x, logits[0].detach())
    torch.testing.assert_close(each, (x - logits[0].sigmoid()).detach() * cotangent[0][None, :, None])
    with torch.no_grad():
        assert torch.equal(bernoulli_log_prob(x, logits), value)
    assert torch.equal(x, kept[0])
    assert torch.equal(logits, kept[1])
