"""Gradients of many draws summed at once, as on a GPU: the same moments, and no waiting for the device."""

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize, budgets_in
from snrkit.diagnostics.engines.cost import CPU, GPU, Task, Work
from snrkit.diagnostics.engines.factors import FactorEngine
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.stacked import StackedSums
from snrkit.diagnostics.engines.taps import Sink
from snrkit.diagnostics.engines.ways import AT_ONCE, IN_TILES, way_of
from snrkit.diagnostics.noise import Noise, labels_of, page_elements
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from tests.zoo import images, mlp, numbers

IWAE = build_estimator("iwae", {})
POINTS, DRAWS, FAN_IN, FAN_OUT = 2, 30, 3, 5


def sink(a, d, weight="w", bias="b"):
    """The call of a layer with inputs ``[p, r, rows, in]`` and cotangents ``[p, r, rows, out]``."""
    flat = a.flatten(0, -2)
    return Sink(weight, bias, flat, flat._version, torch.zeros(()), d.flatten(0, -2))


def factors(rows, dtype=torch.float64):
    shape = POINTS, DRAWS, rows
    return numbers(1, *shape, FAN_IN).to(dtype), numbers(2, *shape, FAN_OUT).to(dtype)


def truth(a, d):
    """(mean, m2) of weight and bias, ``[p, *shape]``, one draw after the other in float64."""
    weight = torch.stack([d[:, r].double().mT @ a[:, r].double() for r in range(a.shape[1])], dim=1)
    bias = d.double().sum(dim=2)
    return {n: (g.mean(1), (g - g.mean(1, keepdim=True)).square().sum(1)) for n, g in (("w", weight), ("b", bias))}


def stacked(a, d, tile=7, step=11):
    sums = StackedSums(len(a), tile)
    for part, other in zip(a.split(step, dim=1), d.split(step, dim=1), strict=True):
        sums.add([sink(part, other)], part.shape[1])
    return sums.moments()


def assert_same(found, expected, tolerance):
    assert set(found) == set(expected)
    for name, pair in expected.items():
        for one, other in zip(found[name], pair, strict=True):
            assert one.dtype == torch.float64
            assert one.shape == other.shape
            assert (one - other).norm() <= tolerance * other.norm(), name


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("tile", [1, 7, 10**6])
@pytest.mark.parametrize("step", [1, 11, DRAWS])
def test_moments_are_those_of_single_draws(rows, tile, step):
    a, d = factors(rows)
    assert_same(stacked(a, d, tile, step), truth(a, d), 1e-12)


def test_draws_of_one_row_are_summed_in_portions(monkeypatch):
    monkeypatch.setattr("snrkit.diagnostics.engines.stacked._ROWS", 4)
    a, d = factors(1)
    assert_same(stacked(a, d), truth(a, d), 1e-12)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_small_variance_beside_a_large_mean_is_kept(rows):
    """Every factor varies by a thousandth: the square of a mean gradient is a million times the variance."""
    a, d = (1 + 1e-3 * x for x in factors(rows, torch.float32))
    assert_same(stacked(a, d), truth(a, d), 1e-3)


@pytest.mark.parametrize("rows", [1, 4])
def test_what_never_changes_has_no_variance(rows):
    a, d = (x[:, :1].expand_as(x) + 0.3 for x in factors(rows, torch.float32))
    assert all(not m2.any() for _, m2 in stacked(a, d, tile=4).values())


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e12])
@pytest.mark.parametrize("axis", [0, 1])
def test_extreme_columns_neither_vanish_nor_overflow(rows, size, axis):
    """In float32 squares of 1e-30 are zero; a column may begin with zeros and become extreme later."""
    pair = factors(rows, torch.float32)
    pair[axis][..., 1] *= size
    pair[axis][:, :12, :, 1] = 0
    found, expected = stacked(*pair), truth(*pair)
    for name, pair_ in expected.items():
        for one, other in zip(found[name], pair_, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=0)


def test_a_layer_called_twice_has_the_rows_of_both_calls():
    a, d = factors(4)
    sums = StackedSums(POINTS, 7)
    sums.add([sink(a[:, :, :1], d[:, :, :1]), sink(a[:, :, 1:], d[:, :, 1:])], DRAWS)
    assert_same(sums.moments(), truth(a, d), 1e-12)


def test_a_layer_that_was_not_reached_or_whose_input_changed_is_left_out():
    a, d = factors(4)
    unreached, changed = sink(a, d), sink(a.clone(), d, "v", "c")
    unreached.cotangent = None
    changed.input.add_(1)
    sums = StackedSums(POINTS, 7)
    sums.add([unreached, changed], DRAWS)
    assert sums.moments() == {}


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: numbers read back, and masks whose result has a size to be found."""

    ASKED = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "_unique2", "unique_dim")

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._overloadpacket.__name__
        indexed = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in self.ASKED or indexed:
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("K", [1, 5])
def test_a_block_of_draws_waits_once(K):
    """Of several layers, passes and tiles: whether numbers are extreme is asked of all of them together, and once."""
    model, x = mlp(), images()[:1]
    problem, engine = Problem.units(model, x, K, Streams(0)), FactorEngine(AT_ONCE)
    assert set(engine.serving(problem, IWAE).values()) == {"factors"}
    answers = []
    tolist = torch.Tensor.tolist
    with pytest.MonkeyPatch.context() as patch, Waits() as waits:
        patch.setattr(torch.Tensor, "tolist", lambda self: answers.append(self.shape) or tolist(self))
        engine.moments(problem, IWAE, range(1), range(40), PassSize(4, 8 * K))
    assert waits.seen == []
    assert answers == [(3,)]


@pytest.mark.rest_slow
@pytest.mark.parametrize("K", [1, 5])
@pytest.mark.parametrize("groups", [3, 66], ids=["a point by itself", "many points in a pass"])
@pytest.mark.parametrize("size", [PassSize(4, 12), PassSize(10**6, 10**6)], ids=["small passes", "one pass"])
def test_the_engine_gives_the_loops_moments(K, groups, size):
    model, x = mlp(), images(points=groups)
    problem = Problem.units(model, x, K, Streams(0))
    engine = FactorEngine(AT_ONCE)
    assert set(engine.serving(problem, IWAE).values()) == {"factors"}
    found, expected = (e.moments(problem, IWAE, range(groups), range(2, 9), size) for e in (engine, LoopEngine()))
    for kind in ("mean", "m2"):
        for one, other in zip(getattr(found, kind), getattr(expected, kind), strict=True):
            assert (one - other).norm() <= 1e-10 * other.norm()


def test_the_device_decides():
    assert way_of(torch.device("cpu")) is IN_TILES
    assert way_of(torch.device("cuda")) is AT_ONCE


def test_passes_grow_with_the_memory_of_a_gpu():
    """By powers of two, so that a little more or less changes no number."""
    assert budgets_in(None) == budgets_in(0) == budgets_in(10**9) == 1
    assert [budgets_in(free * 2**30) for free in (16, 78, 139)] == [16, 64, 128]
    assert budgets_in(70 * 2**30) == budgets_in(79 * 2**30)
    assert 2 * 80 * 2**20 * budgets_in(78 * 2**30) <= 78 * 2**30 / 4


def test_noise_of_large_pages_does_not_depend_on_how_it_is_asked_for():
    unit, page = (1, 1, 5, 4), 2**12
    noise = Noise(Streams(3), unit, torch.float32, torch.device("cpu"), page=page)
    rows = page // math.prod(unit)
    whole = noise.draw(1, range(2 * rows + 3))
    assert torch.equal(noise.draw(1, range(rows - 2, rows + 5)), whole[rows - 2 : rows + 5])
    assert torch.equal(torch.cat([noise.draw(1, range(i, i + 1)) for i in range(7)]), whole[:7])
    assert not torch.equal(noise.draw(0, range(3)), whole[:3])


def test_pages_are_named_where_they_are_not_as_they_always_were():
    """Blocks of draws kept by an earlier version on a GPU have other numbers; on a CPU they have the same."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert (page_elements(cpu), page_elements(gpu)) == (2**13, 2**22)
    assert (labels_of(cpu), labels_of(gpu)) == ([], ["pages of 4194304"])


def test_on_a_gpu_one_call_for_many_draws_is_worth_more():
    """Convolutions with weights of each draw's own are slow there, but calls are what draws wait for."""
    work = Work(calls=170.0, flops=1e8, convolved=6e8, moved=2e7)
    cpu, gpu = (
        Task(work, Work(calls=100.0), samples=10, coordinates=10_000, units=500, rows=50, block=500, prices=prices)
        for prices in (CPU, GPU)
    )
    assert gpu.loop() / gpu.vmap() > 2 * cpu.loop() / cpu.vmap()
    assert gpu.factors(10_000, 100, True) < gpu.vmap()
