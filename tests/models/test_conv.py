"""The convolutional model: against what an up-convolution is, in shapes, and on data of which no shape is known."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.factors import FactorEngine
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.measure import measure
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CheckpointError, SpecError
from snrkit.estimators.base import build_estimator
from snrkit.models.base import build_model
from snrkit.models.conv import Conv
from snrkit.models.summary import DataSummary
from snrkit.run import Run, train
from snrkit.runs.checkpoint import load_checkpoint, save_checkpoint
from snrkit.specs.run import ModelSpec, RunSpec
from tests.support.training import learns
from tests.zoo import B, K, M, conv, images, numbers


def count(*modules):
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


@pytest.mark.parametrize(
    ("shape", "options", "parts"),
    [
        ((28, 28), {}, (880_868, 871_041)),
        ((8, 8), {"channels": (16, 32), "kernel": 3, "hidden": 64, "latent": 8}, (14_096, 13_665)),
    ],
)
def test_parameter_counts(shape, options, parts):
    summary = DataSummary(torch.zeros(shape[0] * shape[1]), real=False, image_shape=shape)
    model = build_model(ModelSpec(name="conv", options=options), summary, 0)
    assert (count(model.down, model.encoder), count(model.decoder, model.up)) == parts


def up_convolution(features, weight, bias):
    """Every entry to the top left of a 2 x 2 block of zeros, then a convolution (Dosovitskiy et al. 2015)."""
    n, channels, height, width = features.shape
    spread = features.new_zeros(n, channels, 2 * height, 2 * width)
    spread[..., ::2, ::2] = features
    return functional.conv2d(spread, weight.flip(2, 3).transpose(0, 1), bias, padding=weight.shape[-1] // 2)


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("shape", [(8, 12), (7, 10), (5, 5)])
def test_the_decoder_is_of_up_convolutions(kernel, shape):
    """Of odd sizes the last row or column is left off."""
    model = Conv(shape, (3, 4), kernel, 6, 2).double()
    z = numbers(1, B, M, K, 2)
    (last, _, first) = model.up
    features = model.decoder(z).reshape(-1, *model.bottom)
    half = [(size + 1) // 2 for size in shape]
    middle = up_convolution(features, last.weight, last.bias)[..., : half[0], : half[1]].relu()
    pixels = up_convolution(middle, first.weight, first.bias)[..., : shape[0], : shape[1]]
    torch.testing.assert_close(model.pixel_means(z), pixels.sigmoid().reshape(B, M, K, -1), rtol=1e-12, atol=1e-12)


def test_a_row_of_zeros_changes_nothing():
    """An image of 7 x 7 and the same in 8 x 8, of the same parameters: proposal, and the pixels that both have."""
    one, other = (Conv((side, side), (3, 4), 3, 6, 2).double() for side in (7, 8))
    other.load_state_dict(one.state_dict())
    x = images(pixels=49)
    padded = functional.pad(x.view(B, 7, 7), (0, 1, 0, 1)).reshape(B, 64)
    torch.testing.assert_close(one.encode(x).loc, other.encode(padded).loc)
    z = numbers(1, 6, 2)
    larger = other.pixel_means(z).view(6, 8, 8)
    torch.testing.assert_close(one.pixel_means(z).view(6, 7, 7), larger[:, :7, :7])


def test_what_is_moved_by_four_pixels_moves_the_features_by_one():
    """But for those at the border, which see the zeros around the image."""
    model, image = Conv((32, 32), (3, 4), 5, 6, 2), torch.zeros(1, 1, 32, 32)
    image[0, 0, 13, 14] = 1
    still, moved = model.down(image), model.down(image.roll((4, 4), (2, 3)))
    torch.testing.assert_close(moved[..., 2:7, 2:7], still[..., 1:6, 1:6])
    assert not torch.allclose(moved[..., 2:7, 2:7], still[..., 2:7, 2:7])


def test_samples_are_those_of_a_loop():
    model, x, noise = conv(), images(), numbers(2, B, M, K, 4)
    weights = model(x, noise).log_w
    for b, m, k in np.ndindex(B, M, K):
        own = model(x[b : b + 1], noise[b : b + 1, m : m + 1, k : k + 1]).log_w
        torch.testing.assert_close(own.squeeze(), weights[b, m, k], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_engines_agree():
    problem = Problem.units(conv(), images(), K, Streams(3))
    for name in ("iwae", "dreg"):
        estimator, size = build_estimator(name, {}), PassSize(4, 10**6)
        expected = LoopEngine().moments(problem, estimator, range(B), range(12), size)
        for engine in (VmapEngine(), FactorEngine()):
            found = engine.moments(problem, estimator, range(B), range(12), size)
            for one, other in zip([*found.mean, *found.m2], [*expected.mean, *expected.m2], strict=True):
                assert (one - other).norm() <= 1e-10 * other.norm()


def test_rows_that_are_no_images_are_refused():
    with pytest.raises(SpecError, match="rows of 9 numbers; choose mlp"):
        build_model(ModelSpec(name="conv"), DataSummary(torch.zeros(9), real=False), 0)
    with pytest.raises(SpecError, match="conv models pixels"):
        build_model(ModelSpec(name="conv"), DataSummary(torch.zeros(9), real=True, image_shape=(3, 3)), 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"kernel": 4}, "must be odd"), ({"channels": []}, "at least 1"), ({"hidden": 0}, "greater than")],
)
def test_options_out_of_range(options, said):
    with pytest.raises(SpecError, match=said):
        build_model(ModelSpec(name="conv", options=options), DataSummary(torch.zeros(9), False, image_shape=(3, 3)), 0)


def test_a_checkpoint_knows_the_shape(tmp_path):
    """Height and width come back from the file, and a file that says others is damaged."""
    np.savez(tmp_path / "wide.npz", x_train=np.zeros((6, 4, 6)), x_test=np.ones((3, 4, 6)))
    model = {"name": "conv", "options": {"channels": [2], "kernel": 3, "hidden": 3, "latent": 2}}
    data = {"name": "npz", "path": str(tmp_path / "wide.npz"), "binarise": "threshold"}
    table = {"data": data, "model": model, "epochs": 0, "eval_points": 0}
    train(RunSpec.parse(table, "the test"), tmp_path / "run", device="cpu")
    assert Run.open(tmp_path / "run", device="cpu").model.shape == (4, 6)
    saved = load_checkpoint(tmp_path / "run")
    for wrong in ((6, 5), (24,), (-4, -6), (4.0, 6.0)):
        save_checkpoint(tmp_path / "wrong.pt", dataclasses.replace(saved, image_shape=wrong))
        with pytest.raises(CheckpointError, match="image_shape"):
            load_checkpoint(tmp_path / "wrong.pt")
    save_checkpoint(tmp_path / "old.pt", dataclasses.replace(saved, image_shape=()))
    with pytest.raises(SpecError, match="rows of 24 numbers"):
        load_checkpoint(tmp_path / "old.pt").restore_model(torch.device("cpu"))


@pytest.mark.slow
def test_it_learns_and_resumes(tmp_path):
    learns({"name": "conv", "options": {"channels": [6, 8], "kernel": 3, "hidden": 24, "latent": 4}}, 4, 10, tmp_path)


def test_what_cudnn_may_choose_in_a_step_and_in_a_measurement(monkeypatch, tmp_path):
    """Algorithms that give the same bits every time, and afterwards whatever the process allows."""
    seen = []
    plain = Conv.encode

    def encode(model, x):
        seen.append((torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark))
        return plain(model, x)

    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(Conv, "encode", encode)
    measure(conv(), images(), ["vae"], K=[1], draws=4)
    assert (True, False) in seen
    seen.clear()
    model = {"name": "conv", "options": {"channels": [2], "kernel": 3, "hidden": 3, "latent": 2}}
    data = {"name": "digits", "train_limit": 20, "binarise": "threshold"}
    table = {"data": data, "model": model, "epochs": 1, "eval_points": 0}
    train(RunSpec.parse(table, "the test"), tmp_path / "run", device="cpu")
    assert (True, False) in seen
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == (False, True)
