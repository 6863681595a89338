"""Moments of rows of gradients: those of float64, near the ends of float32 too, in any portions and stretches."""

import numpy as np
import pytest
import torch

import snrkit
from snrkit.losses import drawing, summing
from snrkit.losses.drawing import _Within
from snrkit.losses.parameters import trained
from snrkit.losses.summing import RowMoments
from tests.losses import zoo

CPU = torch.device("cpu")


def numbers(rows, size, kind="plain"):
    values = zoo.data(rows, size)
    with np.errstate(over="ignore"):
        scale = {"plain": 1.0, "small": 1e-25, "denormal": 1e-40, "large": 1e25, "largest": 5e37}.get(kind, 1.0)
        values = (values.double() * scale).float()
    if kind == "offset":
        values = 1e4 + values
    return values


def moments(values, portions):
    found = RowMoments(values.shape[1], CPU)
    for part in torch.split(values - values[0], portions):
        found.add(part)
    return found.block(values[0])


@pytest.mark.parametrize("kind", ["plain", "small", "denormal", "large", "largest", "offset"])
@pytest.mark.parametrize("portions", [23, 7])
def test_moments_are_those_of_float64(kind, portions, monkeypatch):
    monkeypatch.setattr(summing, "_AT_ONCE", 64)  # many stretches, and a last one that is narrower
    values = numbers(23, 101, kind)
    found, exact = moments(values, portions), values.double()
    assert np.allclose(found.variance, exact.var(dim=0), rtol=1e-5, atol=0)
    # The mean's own error is in the unit of the spread, of which deviations are sums.
    off = np.abs(found.mean - exact.mean(dim=0).numpy())
    assert np.all(off <= 1e-6 * exact.std(dim=0).numpy() + 1e-12 * np.abs(exact.mean(dim=0).numpy()))


def test_a_coordinate_that_never_changes_has_no_variance_and_one_that_hardly_does_has_its_own():
    values = numbers(20, 6)
    values[:, 0], values[:, 1], values[:, 2] = 0.0, 0.3, 1e-30
    values[3, 2] = 2e-30  # the square of what it changes by is nothing in float32
    found = moments(values, 20)
    assert list(found.variance[:2]) == [0.0, 0.0]
    assert list(found.mean[:2]) == [0.0, float(np.float32(0.3))]
    assert found.variance[2] == pytest.approx(values[:, 2].double().var().item(), rel=1e-9)


def test_tiny_changes_that_cancel_are_no_constant():
    values = torch.tensor([[0.0], [1e-30], [-1e-30]])
    assert moments(values, 3).variance[0] == pytest.approx(1e-60, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-24, 1e25])
def test_a_last_part_of_one_row_loses_no_squares(scale):
    values = numbers(9, 5) * scale
    exact = values.double().var(dim=0)
    assert np.allclose(moments(values, 4).variance, exact, rtol=1e-5, atol=0)


def test_what_is_nan_stays_nan():
    values = numbers(6, 4)
    values[2, 1] = float("nan")
    found = moments(values, 6)
    assert np.isnan(found.mean[1])
    assert np.isfinite(found.mean[[0, 2, 3]]).all()


@pytest.mark.parametrize("repeats", [2, 3])
def test_variance_within_batches_is_that_of_float64_also_beside_a_large_mean(repeats, monkeypatch):
    monkeypatch.setattr(drawing, "WIDE_AT_ONCE", 50)
    model = zoo.made(lambda: zoo.mlp(4, 5, 2))
    rows = 1e3 + zoo.data(8, repeats, sum(p.numel() for p in model.parameters()))
    found = _Within(trained(model))
    found.add(rows[:5])
    found.add(rows[5:])
    exact = rows.double().var(dim=1).sum(dim=0)
    sizes = [p.numel() for p in model.parameters()]
    assert np.allclose(found.traces(), [part.sum() for part in torch.split(exact, sizes)], rtol=1e-10)


def test_blocks_of_unequal_draws_in_stretches(monkeypatch):
    monkeypatch.setattr(summing, "_AT_ONCE", 60)
    model = zoo.made(lambda: zoo.mlp(4, 5, 2))
    x = zoo.data(3, 4)
    # 50 draws fall into blocks of two and of three.
    table = snrkit.measure_loss(lambda m, x: (m(x) * torch.randn(2)).square().mean(), model, x, draws=50)
    assert set(table["draws"]) == {50}


def test_an_outlying_first_draw_costs_the_means_of_batches_no_digits():
    model, repeats = zoo.made(lambda: zoo.mlp(3, 2)), 100
    own = trained(model)
    draws = 0.1 * zoo.data(25 * repeats, own.layout.size)
    draws[0] = 1e4

    def write(numbers, rows, batch, origin):
        rows.copy_(draws[numbers.start : numbers.stop])
        if origin is not None:
            rows.sub_(origin)
        return [None] * len(numbers)

    found = drawing.redrawn_block(
        own, drawing.Rows("loss", own, 5 * repeats, write), range(25), repeats, lambda number: number, lambda _: None
    )
    exact = draws.double().view(25, repeats, -1).mean(dim=1)
    assert np.allclose(found.means.variance, exact.var(dim=0), rtol=1e-4)
    # Of the mean in the unit of the spread, as ever.
    assert np.all(np.abs(found.means.mean - exact.mean(dim=0).numpy()) <= 1e-5 * exact.std(dim=0).numpy())


@pytest.mark.parametrize("draws", [1280, 1300])
@pytest.mark.parametrize("scale", [1e-24, 3e19, 1e25])
def test_a_loss_of_any_size_has_the_same_ratio(draws, scale):
    def measured(size):
        parameter = torch.nn.Parameter(torch.zeros(5))
        table = snrkit.measure_loss(
            lambda p, _: (p * (torch.randn(5) * size + 0.3 * size)).sum(), parameter, torch.zeros(1), draws=draws
        )
        return table[(table["metric"] == "snr_mean") & (table["block"] == "all")]["value"].item()

    assert measured(scale) == pytest.approx(measured(1.0), rel=1e-5)
