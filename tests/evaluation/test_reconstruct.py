"""Sampling from q_IW against exact expectations on the Gaussian toy, and the table of reconstructions."""

import functools

import numpy as np
import pytest
import torch

from snrkit.core.logweights import log_mean_exp, normalised
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, NonFiniteError, ResourceError, SpecError
from snrkit.evaluation import reconstruct as module
from snrkit.evaluation.reconstruct import reconstruct, resample, with_ssim
from snrkit.evaluation.ssim import image_ssim
from tests.zoo import hierarchical, images, mlp, numbers, toy

SAMPLES = 3000


@pytest.fixture
def far():
    return far_off()


def far_off():
    """A toy whose proposal is off, at one point: weights matter. Posterior N((x + mu)/2, I/2)."""
    return toy(points=1, dim=2, perturb=0.5)


@functools.cache
def drawn(k):
    plain, weighted = resample(*far_off(), [0], k, SAMPLES, Streams(1))
    return plain[0], weighted[0]


def assert_moments(z, mean, variance):
    """Mean and variance of samples [S, D] within 4 standard errors of the exact ones."""
    variance = torch.as_tensor(variance, dtype=z.dtype)
    assert ((z.mean(0) - mean).abs() < 4 * (variance / len(z)).sqrt()).all()
    # The variance of the sample variance of a normal.
    assert ((z.var(0) - variance).abs() < 4 * variance * (2 / len(z)) ** 0.5).all()


@pytest.mark.slow
def test_samples_of_q_are_those_of_the_proposal(far):
    model, x = far
    assert_moments(drawn(1)[0], (x @ model.A.T + model.b)[0].detach(), 2 / 3)


@pytest.mark.slow
def test_with_one_sample_q_iw_is_q():
    plain, weighted = drawn(1)
    assert torch.equal(plain, weighted)


@pytest.mark.slow
def test_with_many_samples_q_iw_is_the_posterior(far):
    model, x = far
    exact = ((x + model.mu) / 2)[0].detach()
    assert_moments(drawn(400)[1], exact, 1 / 2)
    proposal = (x @ model.A.T + model.b)[0].detach()
    assert (proposal - exact).abs().max() > 20 * (0.5 / SAMPLES) ** 0.5  # which q is not


@pytest.mark.rest_slow
@pytest.mark.parametrize("k", [2, 5])
def test_expectations_of_q_iw_are_self_normalised_averages(far, k):
    """E_qIW[f] = E[sum_k w~_k f(z_k)] at every k; the right side from draws of its own."""
    model, x = far
    groups = 20_000
    noise = numbers(7, 1, groups, k, 2)
    with torch.no_grad():
        z = model.encode(x).sample(noise)[0]
        weights = normalised(model(x, noise).log_w)[0, :, :, None]
    weighted = drawn(k)[1]
    for f in (lambda z: z, torch.square, torch.sin):
        averages = (weights * f(z)).sum(1)
        error = (averages.var(0) / groups + f(weighted).var(0) / SAMPLES).sqrt()
        assert ((f(weighted).mean(0) - averages.mean(0)).abs() < 4 * error).all()
    bound = log_mean_exp(model(x, noise).log_w).mean()
    assert bound < model.log_marginal(x)  # and the weights are those of a bound


@pytest.mark.parametrize("rows", [1, 7])
def test_portions_change_nothing(far, monkeypatch, rows):
    model, x = far
    whole = resample(model, x, [3], 20, 4, Streams(0))
    monkeypatch.setattr(module, "_ROWS", rows)
    for one, other in zip(whole, resample(model, x, [3], 20, 4, Streams(0)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("make", [mlp, hierarchical])
def test_the_table(make):
    model, x = make(), images()
    table = reconstruct(model, x, [4, 0, 9], 6, 2, Streams(0))
    assert table.groupby(["kind", "point"])["sample"].apply(list).to_dict() == {
        **{("input", point): [0] for point in (0, 4, 9)},
        **{(kind, point): [0, 1] for kind in ("q", "q_iw") for point in (0, 4, 9)},
    }
    inputs = table[table.kind == "input"].set_index("point")
    np.testing.assert_array_equal(np.stack(inputs.loc[[4, 0, 9], "pixels"]), x)
    for row in table[table.kind != "input"].itertuples():
        means = model.pixel_means(torch.tensor(row.z, dtype=x.dtype)).detach()
        torch.testing.assert_close(torch.tensor(row.pixels, dtype=x.dtype), means)
        fit = torch.distributions.Bernoulli(means).log_prob(torch.tensor(inputs.loc[row.point, "pixels"])).sum()
        assert row.log_likelihood == pytest.approx(float(fit), rel=1e-6)
    # A sample of q_IW is one of the k; with the noise of another seed it is another one.
    assert not table.equals(reconstruct(model, x, [4, 0, 9], 6, 2, Streams(1)))
    alone = reconstruct(model, x[1:2], [0], 6, 2, Streams(0))
    both = table[table.point == 0].reset_index(drop=True)
    np.testing.assert_allclose(np.stack(alone.pixels), np.stack(both.pixels), rtol=1e-6)


@pytest.mark.parametrize(("k", "samples", "argument"), [(0, 1, "k"), (1, 0, "samples")])
def test_too_few(k, samples, argument):
    with pytest.raises(SpecError) as caught:
        reconstruct(mlp(), images(), range(3), k, samples, Streams(0))
    assert caught.value.argument == argument


def test_models_without_pixels_are_refused(far):
    with pytest.raises(CapabilityError, match="Gaussian has no pixel_means"):
        reconstruct(*far, [0], 2, 2, Streams(0))


def test_weights_that_are_nan():
    model = mlp()
    with torch.no_grad():
        model.decoder[0].weight.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="at test point 8"):
        reconstruct(model, images(points=1), [8], 2, 2, Streams(0))


def test_ssim_of_each_reconstruction_with_its_own_input():
    model, x = mlp(pixels=14 * 14), images(points=3, pixels=14 * 14)
    table = with_ssim(reconstruct(model, x, [4, 1, 9], 3, 2, Streams(0)), (14, 14))
    assert table.ssim[table.kind == "input"].isna().all()
    inputs = table[table.kind == "input"].set_index("point").pixels
    for row in table[table.kind != "input"].itertuples():
        pair = (torch.as_tensor(pixels)[None] for pixels in (row.pixels, inputs[row.point]))
        assert row.ssim == pytest.approx(image_ssim(*pair, (14, 14)).item(), abs=1e-6)
    perfect = table.assign(pixels=[inputs[point] for point in table.point])
    np.testing.assert_allclose(with_ssim(perfect, (14, 14)).ssim.dropna(), 1)


@pytest.mark.parametrize("rows", [1, 3, 7, 50])
def test_portions_choose_the_same_samples(monkeypatch, far, rows):
    model, x = far
    whole = resample(model, x, [0], 50, 40, Streams(1))
    monkeypatch.setattr(module, "_ROWS", rows)
    assert all(torch.equal(a, b) for a, b in zip(resample(model, x, [0], 50, 40, Streams(1)), whole, strict=True))


def test_samples_of_weight_zero_are_never_kept(far, monkeypatch):
    model, x = far
    joint, level = type(model).log_joint, float((x @ model.A.T + model.b)[0, 0].detach())
    monkeypatch.setattr(type(model), "log_joint", lambda *args: joint(*args).where(args[2][..., 0] > level, -torch.inf))
    plain, weighted = resample(model, x, [0], 40, 200, Streams(1))
    assert (plain[..., 0] < level).any()
    assert (weighted[..., 0] > level).all()
    monkeypatch.setattr(type(model), "log_joint", lambda *args: joint(*args) - torch.inf)
    with pytest.raises(NonFiniteError, match="every one of 40 is -inf at test point 0"):
        resample(model, x, [0], 40, 1, Streams(1))


def test_more_than_memory_is_refused(far):
    with pytest.raises(ResourceError, match=r"k: 10,000,000,000,000 samples need 240\.0 TB"):
        resample(*far, [0], 10**13, 1, Streams(1))
