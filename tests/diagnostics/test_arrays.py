"""Readings on the host and on a device: the same numbers, whatever the blocks, and little comes back from the device."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from snrkit.diagnostics.arrays import device, host, quartiles
from snrkit.diagnostics.arrays.base import Segments, Selection
from snrkit.diagnostics.arrays.place import fits, place_of
from snrkit.diagnostics.intervals import delete_one, half_samples
from snrkit.diagnostics.metrics import bias, dsnr, parts, strength
from snrkit.diagnostics.metrics.base import Evidence, Replayed, Target
from snrkit.diagnostics.moments import BlockMoments, DeviceBlock, Moments, PointMoments, wide_chunk
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.verdict import Verdict
from snrkit.estimators.base import build_estimator

CPU = torch.device("cpu")
# Tensors of every kind of size: one coordinate, few, more than are sorted at once; odd and even.
LAYOUT = Layout(
    ("a", "one", "large", "b", "none", "odd"),
    tuple(torch.Size([size]) for size in (7, 1, 600, 4, 3, 5)),
    ("inference",) * 3 + ("generative",) * 3,
)
P, T = LAYOUT.size, len(LAYOUT.names)


def blocks_of(seed, G, points=4, share=0.3):
    """Blocks of unequal numbers of draws; some coordinates never vary or are zero, one varies in the first block only."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(0, 2, P))
    still = rng.random(P) < share
    still[LAYOUT.blocks["none"]], still[LAYOUT.blocks["one"]] = True, False
    constant = np.where(rng.random(P) < 0.5, 0.1 * scale, 0.0)
    found = []
    for g in range(G):
        n = 5 + g % 3
        variance = np.where(still, 0.0, scale**2 * rng.chisquare(n - 1, P) / (n - 1))
        mean = np.where(still, constant, scale * rng.normal(0.3, 1 / math.sqrt(n), P))
        if g:
            variance[2], mean[2] = 0.0, 0.25
        found.append(BlockMoments(n, mean, variance, rng.random((points, T, 3))))
    return found


def evidence_of(G, place, lender=False, rounding=None):
    own, other = (Moments(blocks_of(seed, G), rounding, place) for seed in (1, 2))
    rng = np.random.default_rng(3)
    rows = np.repeat(np.arange(G), 4)
    replayed = Replayed(rows, 50 + rng.random((len(rows), 2)), rng.random((len(rows), 2, G)), np.empty((len(rows), 0)))
    job = Job(build_estimator("iwae", {}), 1, 5, False, 1, own.draws)
    targets = dict.fromkeys(LAYOUT.blocks, Target(other, "other"))
    lent = other if lender else None
    return Evidence(job, LAYOUT, LAYOUT.blocks, own, lent, targets, replayed=replayed)


def readings(evidence):
    families = strength.FAMILY, bias.FAMILY, dsnr.FAMILY, parts.FAMILY
    return [reading for family in families for reading in family.read(evidence)]


def assert_same(one, other, rtol=1e-12):
    assert [(r.metric, r.block, r.scope) for r in one] == [(r.metric, r.block, r.scope) for r in other]
    for a, b in zip(one, other, strict=True):
        assert (a.n_coordinates, a.n_dropped, a.remark) == (b.n_coordinates, b.n_dropped, b.remark)
        values = [[*dataclasses.astuple(r.interval), r.floor, *r.replicates] for r in (a, b)]
        np.testing.assert_allclose(*values, rtol=rtol, atol=1e-13, err_msg=f"{a.metric} of {a.block}")


@pytest.mark.parametrize("lender", [False, True], ids=["own means", "lent means"])
@pytest.mark.parametrize("G", [2, 3, 7, 20])
def test_every_metric_of_every_block_is_the_same_on_a_device(G, lender):
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (readings(evidence_of(G, place, lender)) for place in (None, CPU))
    assert len({r.metric for r in one}) == 18
    assert_same(one, other)


def test_what_varies_by_rounding_alone_is_taken_out_alike():
    def judge(mean, variance):
        zero, constant = np.zeros((2, P), dtype=bool)
        zero[:2], constant[3:9] = True, True
        return Verdict(zero, constant, ~zero & False, ~zero & False, "float32")

    found = [evidence_of(6, place, rounding=SimpleNamespace(judge=judge)) for place in (None, CPU)]
    for evidence in found:
        _, mean, variance = evidence.moments.merged()
        assert (mean[:2] == 0).all()
        assert (variance[[0, 1, *range(3, 9)]] == 0).all()
    assert_same(*(readings(evidence) for evidence in found))
    assert "dropped 2 zero and 4 constant" in next(r.remark for r in readings(found[1]) if r.block == "a" and r.remark)


def test_the_definitions_hold_number_by_number():
    """Every replicate of the quartiles and the mean against numpy, one selection and block at a time."""
    moments, G = Moments(blocks_of(4, 8)), 8
    rows = np.concatenate([np.ones((1, G)), half_samples(G)])
    found = moments.ratios(rows, Segments(LAYOUT.blocks.values()))
    for row, values in zip(rows, found, strict=True):
        _, mean, variance = moments.merged(row)
        for block, own in zip(LAYOUT.blocks.values(), values, strict=True):
            inside = variance[block] > 0
            ratio = np.abs(mean[block][inside]) / np.sqrt(variance[block][inside])
            expected = [ratio.mean(), *np.quantile(ratio, [0.25, 0.5, 0.75])] if ratio.size else [math.nan] * 4
            np.testing.assert_allclose(own, expected, rtol=1e-13)


@pytest.mark.parametrize("size", [1, 2, 3, 8, 9, 255, 256, 257, 1000, 1001])
def test_quartiles_are_those_of_numpy(size):
    rng = np.random.default_rng(size)
    counts = np.unique(np.clip([0, 1, 2, 3, 7, 8, 9, 10, 11, size // 2, size - 1, size], 0, size))
    values = rng.random((len(counts), size)).round(2)  # with ties
    expected = [
        np.quantile(row[:n], [0.25, 0.5, 0.75]) if n else [math.nan] * 3 for row, n in zip(values, counts, strict=True)
    ]
    for row, n in zip(values, counts, strict=True):
        row[n:] = math.inf
        rng.shuffle(row)
    found = quartiles.quartiles(values, counts[:, None], Segments([slice(0, size)]))[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_blocks_that_overlap_in_part_are_read_too():
    blocks = [slice(0, 400), slice(200, 620), slice(5, 5), slice(610, 620)]
    moments = Moments(blocks_of(5, 6))
    rows = half_samples(6)
    together = moments.ratios(rows, Segments(blocks))
    assert not Segments(blocks).nested
    for i, block in enumerate(blocks):
        np.testing.assert_allclose(together[:, i], moments.ratios(rows, Segments([block]))[:, 0], rtol=1e-13)
    np.testing.assert_allclose(together, Moments(blocks_of(5, 6), None, CPU).ratios(rows, Segments(blocks)), rtol=1e-12)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_and_chunks_change_at_most_the_last_digits(threads, monkeypatch):
    rows, segments = half_samples(8), Segments(LAYOUT.blocks.values())

    def read():
        own, other = (Moments(blocks_of(seed, 8)) for seed in (6, 7))
        sums = own.totals(rows, segments, other)
        return [own.ratios(rows, segments, other), sums.trace, sums.signed, sums.typical, *own.gram(segments)]

    before = torch.get_num_threads()
    alone = read()
    try:
        monkeypatch.setattr(host, "_WORTH_THREADS", 0)
        torch.set_num_threads(threads)
        several = read()
    finally:
        torch.set_num_threads(before)
    for one, other in zip(alone, several, strict=True):
        np.testing.assert_array_equal(one, other)  # chunks are added up in the same order
    for name in ("_CHUNK", "_HELD", "_PRODUCT"):
        monkeypatch.setattr(host, name, 100)
    for one, other in zip(alone, read(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


class Watched(TorchDispatchMode):
    """Fails where a number is awaited or the shape of a result depends on numbers."""

    waits = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = name in ("index", "index_put_") and any(t is not None and t.dtype == torch.bool for t in args[1])
        assert name not in self.waits, name
        assert not masks, name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("work", [device.WORK, 1], ids=["whole", "row by row"])
def test_only_small_tables_come_back(work, monkeypatch):
    """Few copies, of a size that does not depend on the number of coordinates, and nothing else waits for the device."""
    sizes, whole = [], device._host
    monkeypatch.setattr(device, "_host", lambda tensor: sizes.append(tensor.numel()) or whole(tensor))
    G, blocks = 20, len(LAYOUT.blocks)
    evidence = evidence_of(G, CPU, lender=True)
    for moments in (evidence.moments, evidence.lender):
        moments._arrays._work = work
    with Watched():
        found = readings(evidence)
    assert len(found) > 100
    calls = 10 if work > 1 else 10 + 60 + 20
    assert 5 <= len(sizes) <= calls
    assert max(sizes) <= 4 * G * G * blocks
    assert sum(sizes) <= blocks * (61 * 4 + 2 * (1 + G) * 6 + 12 * G * G)


def test_a_row_at_a_time_gives_the_same_numbers():
    few, every = evidence_of(5, CPU), evidence_of(5, CPU)
    few.moments._arrays._work = 1
    assert_same(readings(few), readings(every))


def test_coordinates_that_are_always_zero_are_left_out_and_counted():
    """As if they were there: another's means may be zero elsewhere, and a whole block may be."""
    blocks = blocks_of(10, 6, share=0.6)
    moments = Moments(blocks)
    assert moments._arrays._origin.size < moments.size == P
    zero = np.all([(b.mean == 0) & (b.variance == 0) for b in blocks], axis=0)
    assert zero.sum() > 100
    _, mean, variance = moments.merged()
    assert (mean[zero] == 0).all()
    assert (variance[zero] == 0).all()
    part = slice(3, 50)
    np.testing.assert_allclose(moments.means(part), [b.mean[part] for b in blocks], rtol=1e-12)
    np.testing.assert_array_equal(moments.means(slice(None))[:, part], moments.means(part))
    inside = np.flatnonzero(zero[part])[0] + 3
    found = strength.read(moments, {"zero": slice(inside, inside + 1), "all": slice(0, P)})
    assert {r.n_dropped for r in found if r.block == "zero" and r.metric.startswith("snr_")} == {1}
    assert all(math.isnan(r.interval.value) for r in found if r.block == "zero" and r.metric.startswith("snr_"))


def test_what_is_notable_is_found_alike():
    one, other = (Moments(blocks_of(8, 6), None, place) for place in (None, CPU))
    for name, block in LAYOUT.blocks.items():
        assert one.notable(block) == other.notable(block), name


def points_of(device=CPU):
    generator = torch.Generator().manual_seed(0)
    found = PointMoments()
    found.add(
        [torch.randn(9, 2, *shape, generator=generator, dtype=torch.float64).to(device) for shape in ((), (3, 4), (5,))]
    )
    return found


def test_a_block_on_a_device_is_that_of_the_host_and_is_stored_as_such():
    own = BlockMoments.fold([points_of()], 2)
    assert isinstance(own, BlockMoments)
    block = DeviceBlock(own.draws, *(torch.from_numpy(part) for part in (own.mean, own.variance, own.points)))
    back = block.host()
    for name in ("mean", "variance", "points"):
        np.testing.assert_array_equal(getattr(back, name), getattr(own, name))
    assert block.finite
    assert own.finite
    assert not dataclasses.replace(block, variance=block.variance * math.nan).finite
    mixed = Moments([block, own, block], None, CPU)  # as after an interruption: some blocks come from files
    assert isinstance(mixed._arrays, device.DeviceArrays)
    np.testing.assert_allclose(mixed.merged()[1], Moments([own] * 3).merged()[1], rtol=1e-15)
    assert isinstance(Moments([block, own])._arrays, host.HostArrays)


def test_moments_of_two_places_are_read_together():
    """Where memory was short for one of them."""
    rows, segments = half_samples(6), Segments(LAYOUT.blocks.values())
    here, there = ([Moments(blocks_of(seed, 6), None, place) for seed in (1, 2)] for place in (None, CPU))
    expected = here[0].ratios(rows, segments, here[1])
    for own, other in ((here[0], there[1]), (there[0], here[1])):
        np.testing.assert_allclose(own.ratios(rows, segments, other), expected, rtol=1e-12)
        found = own.products(other, segments)[0].apart
        np.testing.assert_allclose(found, here[0].products(here[1], segments)[0].apart, rtol=1e-12)


def test_the_first_blocks_and_single_ones_are_the_same_on_a_device():
    one, other = (Moments(blocks_of(9, 6), None, place) for place in (None, CPU))
    for a, b in zip(one.first(4).merged(), other.first(4).merged(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    part = LAYOUT.blocks["large"]
    np.testing.assert_allclose(one.block(3, part).variance, other.block(3, part).variance, rtol=1e-12)
    np.testing.assert_array_equal(one.means(part), other.means(part))


def test_large_models_are_read_on_the_host():
    assert place_of(CPU, 10, 20) is None
    assert fits(425_284, 20, 8 * 2**30)  # a small card
    assert not fits(20_000_000, 20, 20 * 2**30)
    assert fits(20_000_000, 20, 80 * 2**30)


def test_float64_from_the_first_difference_on_is_what_the_slices_give():
    """What a device does with float32 draws, in one slice or several."""
    draws = 3 + 1e-3 * torch.randn(11, 2, 30, generator=torch.Generator().manual_seed(1))
    mean, squares = wide_chunk(draws, 100)
    torch.testing.assert_close(mean, draws.double().mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(squares, 10 * draws.double().var(0), rtol=1e-12, atol=0)


def test_a_selection_knows_its_draws():
    chosen = Selection(delete_one(3), np.array([2.0, 3.0, 5.0]))
    assert chosen.draws[:, 0].tolist() == [8, 7, 5]
    np.testing.assert_allclose(chosen.shares.sum(axis=1), 1)
