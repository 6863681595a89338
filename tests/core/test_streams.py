"""Streams are pure functions of (seed, purpose, index)."""

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams

CPU = torch.device("cpu")


def normal(seed=3, purpose="train", index=(2, 5), shape=(4, 7), dtype=torch.float32):
    return Streams(seed).normal(purpose, index, shape, dtype=dtype, device=CPU)


def test_same_key_same_numbers_whatever_was_drawn_before():
    streams = Streams(3)
    first = streams.normal("train", (2, 5), (4, 7), dtype=torch.float32, device=CPU)
    streams.normal("train", (2, 6), (4, 7), dtype=torch.float32, device=CPU)
    streams.permutation("train", (2, 5), 11)
    again = streams.normal("train", (2, 5), (4, 7), dtype=torch.float32, device=CPU)
    assert torch.equal(first, again)
    assert torch.equal(first, normal())


@pytest.mark.parametrize(
    "other",
    [{"seed": 4}, {"purpose": "follow"}, {"index": (2, 6)}, {"index": (5, 2)}, {"index": (2,)}, {"index": (2, 5, 0)}],
)  # fmt: skip
def test_another_key_gives_unrelated_numbers(other):
    # 28 numbers each; not one may be shared.
    assert not np.intersect1d(normal().numpy(), normal(**other).numpy()).size


@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_both_precisions_see_the_same_numbers(draw):
    single, double = (
        getattr(Streams(1), draw)("train", (0,), (5, 3), dtype=dtype, device=CPU)
        for dtype in (torch.float32, torch.float64)
    )
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert torch.equal(single.double(), double)


def test_distributions():
    z = normal(shape=(40_000,), dtype=torch.float64)
    u = Streams(0).uniform("binarise", (), (40_000,), dtype=torch.float64, device=CPU)
    # Five standard errors each.
    assert abs(z.mean()) < 5 / 200
    assert abs(z.var() - 1) < 5 * np.sqrt(2) / 200
    assert abs(u.mean() - 0.5) < 5 / np.sqrt(12) / 200
    assert 0 <= u.min() < u.max() < 1


def test_permutation_is_one_and_depends_on_the_epoch():
    first, second = (Streams(0).permutation("shuffle", (epoch,), 50) for epoch in (0, 1))
    assert first.dtype == torch.int64
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)


def test_no_two_streams_of_many_collide():
    keys = [(purpose, i, j) for purpose in ("snr", "train") for i in range(60) for j in range(90)]
    streams = Streams(0)
    assert len({streams.integer(purpose, i, j) for purpose, i, j in keys}) == len(keys)
    # The generator's whole 128-bit state, not only the integer that stands for it.
    states = {streams.numpy(p, i, j).bit_generator.state["state"]["state"] for p, i, j in keys[::7]}
    assert len(states) == len(keys[::7])


def test_large_seeds_are_told_apart():
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**62, 2**63 - 1]
    assert len({Streams(seed).integer("train", 0) for seed in seeds}) == len(seeds)
    assert all(0 <= Streams(seed).integer("train", 0) < 2**63 for seed in seeds)


def test_global_generators_are_neither_read_nor_changed():
    torch.manual_seed(0)
    np.random.seed(0)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), normal()
    torch.manual_seed(1)
    np.random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert torch.equal(before[2], normal())
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])


@pytest.mark.parametrize("portion", [1, 3, 10, 11, 99])
def test_rows_in_portions_are_the_numbers_drawn_at_once(portion):
    for dtype in (torch.float32, torch.float64):
        # Odd sizes: the generator hands out halves of 64-bit words.
        whole = Streams(5).normal("p", (2,), (11, 3), dtype=dtype, device=torch.device("cpu"))
        rows = Streams(5).normal_rows("p", (2,), 11, (3,), portion, dtype=dtype, device=torch.device("cpu"))
        parts = list(rows)
        assert all(len(part) <= portion for part in parts)
        assert torch.equal(torch.cat(parts), whole)
