"""SSIM against its formula written out, and what surrounds it."""

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.evaluation.ssim import has_ssim, point_ssim, reconstructions, ssim_score
from tests.zoo import images, mlp, toy

SIDE = 14
SHAPE = (SIDE, SIDE)


def by_hand(a, b):
    """Mean over one window per pixel, borders reflected, of the structural similarity of two 14 x 14 images."""
    a, b = (np.pad(image, 5, mode="reflect") for image in (a, b))
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for i in range(SIDE):
        for j in range(SIDE):
            p, q = a[i : i + 11, j : j + 11], b[i : i + 11, j : j + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq, c = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2, (window * p * q).sum() - mp * mq
            c1, c2 = 0.01**2, 0.03**2
            values.append((2 * mp * mq + c1) * (2 * c + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return np.mean(values)


@pytest.fixture
def case():
    return mlp(pixels=SIDE**2), images(points=5, pixels=SIDE**2)


def test_against_the_formula(case):
    model, x = case
    found = point_ssim(model, x, SHAPE, Streams(0))
    with torch.no_grad():
        means = reconstructions(model, x, Streams(0))
    expected = [by_hand(m.reshape(SHAPE), y.reshape(SHAPE)) for m, y in zip(means.numpy(), x.numpy(), strict=True)]
    np.testing.assert_allclose(found, expected, atol=2e-5)  # torchmetrics computes in float32


def test_a_perfect_reconstruction_has_one(case, monkeypatch):
    model, x = case
    monkeypatch.setattr("snrkit.evaluation.ssim.reconstructions", lambda model, x, *rest: x)
    np.testing.assert_allclose(point_ssim(model, x, SHAPE, Streams(0)), 1.0, atol=1e-5)


def test_reconstructions_are_means_of_one_sample(case):
    model, x = case
    with torch.no_grad():
        whole = reconstructions(model, x, Streams(0))
        posterior = model.encode(x[2:3])
        noise = Streams(0).normal("reconstruct", (2,), (1, 1, 1, 4), dtype=x.dtype, device=x.device)
        torch.testing.assert_close(whole[2:3], torch.sigmoid(model.decoder(posterior.sample(noise)))[:, 0, 0])
        torch.testing.assert_close(reconstructions(model, x[2:], Streams(0), first=2), whole[2:])


def test_a_points_value_does_not_depend_on_the_portions(case, monkeypatch):
    model, x = case
    whole = point_ssim(model, x, SHAPE, Streams(0))
    monkeypatch.setattr("snrkit.evaluation.ssim._PORTION", 2)
    np.testing.assert_allclose(point_ssim(model, x, SHAPE, Streams(0)), whole, atol=1e-6)


def test_where_there_is_one():
    assert has_ssim(mlp(), (28, 28))
    assert not has_ssim(mlp(), (8, 8))
    assert not has_ssim(mlp(), None)
    assert not has_ssim(toy()[0], (28, 28))


def test_the_score_has_both_spreads():
    values = np.array([0.2, 0.4, 0.9])
    score = ssim_score(values)
    assert score.value == pytest.approx(0.5)
    assert score.sd == pytest.approx(values.std(ddof=1))
    assert score.stderr == pytest.approx(score.sd / np.sqrt(3))
