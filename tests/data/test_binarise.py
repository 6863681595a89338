"""Binarisation: probabilities, streams, and the same pixels wherever they are made."""

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.data import binarise as module
from snrkit.data.base import Dataset
from snrkit.specs.run import DataSpec

CPU = torch.device("cpu")
F32, F64 = torch.float32, torch.float64


@pytest.fixture
def grey():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 7), dtype=np.uint8) for n in (11, 6))
    return Dataset("some", train, test, "grey", None, "")


def draw(pixels, mode, index=(0,), dtype=F32, seed=0):
    return module.binarise(pixels, mode, Streams(seed), "test", index, dtype)


@pytest.mark.parametrize("mode", ["dynamic", "fixed"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_pixels_are_on_with_the_probability_of_their_grey_value(mode, dtype):
    n = 40_000
    levels = torch.tensor([0, 1, 64, 128, 254, 255], dtype=torch.uint8)
    drawn = draw(levels.expand(n, 6), mode, dtype=dtype)
    assert drawn.dtype == dtype
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    p = levels.to(F64) / 255
    rate = drawn.to(F64).mean(0)
    assert torch.all((rate - p).abs() <= 5 * (p * (1 - p) / n).sqrt())
    # Black and white are certain, not merely likely.
    assert (rate[0], rate[-1]) == (0, 1)
    assert torch.equal(draw((levels.to(dtype) / 255).expand(n, 6), mode, dtype=dtype), drawn)


@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-24])
def test_black_and_white_survive_the_ends_of_the_uniform_range(extreme):
    class Extreme(Streams):
        def uniform(self, purpose, index, shape, *, dtype, device):
            return torch.full(tuple(shape), extreme, dtype=dtype)

    ends = torch.tensor([0, 255], dtype=torch.uint8)
    assert module.binarise(ends, "dynamic", Extreme(0), "test", (), F64).tolist() == [0, 1]


def test_index_and_seed_change_the_draw_and_nothing_else_does():
    half = torch.full((20, 30), 0.5)
    first = draw(half, "dynamic")
    assert torch.equal(first, draw(half, "dynamic"))
    assert torch.equal(first, draw(half.to(F64), "dynamic", dtype=F64).to(F32))
    assert not torch.equal(first, draw(half, "dynamic", index=(1,)))
    assert not torch.equal(first, draw(half, "dynamic", seed=1))


def test_threshold_and_none():
    levels = torch.tensor([0, 127, 128, 255], dtype=torch.uint8)
    assert draw(levels, "threshold").tolist() == [0, 0, 1, 1]
    assert draw(torch.tensor([0.0, 0.499, 0.5, 1.0]), "threshold").tolist() == [0, 0, 1, 1]
    assert torch.equal(draw(levels, "none", dtype=F64), levels.to(F64) / 255)
    real = torch.tensor([-3.5, 1e20], dtype=F64)
    assert torch.equal(draw(real, "none", dtype=F64), real)


def test_to_device_keeps_bytes_and_never_aliases():
    pixels = np.frombuffer(bytes(range(6)), np.uint8).reshape(2, 3)
    assert module.to_device(pixels, CPU, F64).dtype == torch.uint8
    real = np.ones((2, 3))
    tensor = module.to_device(real, CPU, F32)
    assert tensor.dtype == F32
    real[:] = 7
    assert tensor.max() == 1


def batches(dataset, mode, seed=0, run=0, dtype=F32):
    return module.Batches(dataset, DataSpec(binarise=mode, seed=seed), Streams(run), dtype, CPU)


def test_dynamic_batches_are_fresh_at_each_step_and_repeatable(grey):
    index = torch.arange(11)
    first = batches(grey, None)
    assert len(first) == 11
    step = first.train_batch(index, 3)
    assert not torch.equal(step, first.train_batch(index, 4))
    # Step 3 again, without what came before: what a resumed run needs.
    assert torch.equal(step, batches(grey, "dynamic").train_batch(index, 3))
    assert not torch.equal(step, batches(grey, "dynamic", run=1).train_batch(index, 3))


def test_fixed_batches_depend_on_the_spec_seed_alone(grey):
    index = torch.tensor([4, 9, 0])
    whole = batches(grey, "fixed").train_batch(torch.arange(11), 0)
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(batches(grey, "fixed", run=8).train_batch(index, 77), whole[index])
    assert not torch.equal(batches(grey, "fixed", seed=1).train_batch(torch.arange(11), 0), whole)


def test_fixed_images_do_not_move_under_a_train_limit(grey):
    part = Dataset("some", grey.train[:5], grey.test, "grey", None, "")
    whole = batches(grey, "fixed").train_batch(torch.arange(5), 0)
    assert torch.equal(batches(part, "fixed").train_batch(torch.arange(5), 0), whole)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_batches_pick_the_rows_asked_for(grey, dtype):
    index = torch.tensor([10, 2])
    batch = batches(grey, "none", dtype=dtype).train_batch(index, 0)
    assert batch.dtype == dtype
    assert torch.equal(batch, torch.tensor(grey.train)[index].to(dtype) / 255)


@pytest.mark.parametrize("mode", ["dynamic", "fixed"])
def test_test_points_are_the_same_whichever_are_asked_for(grey, mode):
    spec = DataSpec(binarise=mode, seed=2)
    whole = module.test_points(grey, spec, F32, CPU, slice(None))
    assert whole.shape == (6, 7)
    assert torch.equal(module.test_points(grey, spec, F32, CPU, slice(2, 4)), whole[2:4])
    assert torch.equal(module.test_points(grey, spec, F64, CPU, [5, 1]), whole[[5, 1]].to(F64))
    assert not torch.equal(module.test_points(grey, DataSpec(seed=3), F32, CPU, slice(None)), whole)


def test_real_points_pass_unchanged():
    rows = np.random.default_rng(0).standard_normal((4, 3)) * 9
    data = Dataset("some", rows, rows[:2], "real", None, "")
    assert torch.equal(module.test_points(data, DataSpec(), F64, CPU, slice(None)), torch.tensor(rows[:2]))
    assert torch.equal(batches(data, None, dtype=F64).train_batch(torch.tensor([3]), 0), torch.tensor(rows[3:]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_gpu_sees_the_same_fixed_and_test_images(grey):
    cuda, spec = torch.device("cuda"), DataSpec(binarise="fixed")
    there = module.Batches(grey, spec, Streams(0), F32, cuda).train_batch(torch.arange(11), 0)
    assert there.device.type == "cuda"
    assert torch.equal(there.cpu(), batches(grey, "fixed").train_batch(torch.arange(11), 0))
    points = module.test_points(grey, spec, F32, cuda, [1])
    assert torch.equal(points.cpu(), module.test_points(grey, spec, F32, CPU, [1]))
    dynamic = module.Batches(grey, DataSpec(), Streams(0), F32, cuda).train_batch(torch.arange(11), 0)
    assert set(dynamic.unique().tolist()) == {0.0, 1.0}
