"""DSNR and kept draws."""

import math

import numpy as np
import pytest

from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.intervals import jackknife_stderr
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.metrics.base import Replayed
from snrkit.diagnostics.metrics.dsnr import dsnr, noise_dsnr
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.relations import block_means
from snrkit.errors import SpecError
from snrkit.estimators.base import build_estimator
from snrkit.specs.measure import Execution
from tests.diagnostics.synthetic import moments_of, row, within
from tests.zoo import toy

IWAE = (build_estimator("iwae", {}),)


def dsnr_of(draws, G=20, networks=None):
    """Both variants for draws ``[R, P]``, over all networks."""
    networks = networks or [slice(0, draws.shape[1])]
    moments = moments_of(draws[:, None], G)
    block = np.concatenate([np.full(len(p), g) for g, p in enumerate(np.array_split(draws, G))])
    norms = np.stack([(draws[:, n] ** 2).sum(1) for n in networks], axis=1)
    products = np.stack([draws[:, n] @ block_means(moments, n).T for n in networks], axis=1)
    return dsnr(Replayed(block, norms, products, draws[:, :0]), moments, networks, range(len(networks)))


def ratios(draws, direction):
    u = direction / np.linalg.norm(direction)
    along = draws @ u
    return np.abs(along) / np.linalg.norm(draws - along[:, None] * u, axis=1)


def cross_fit(parts):
    """By the definition: each block on the direction of all other draws."""
    found = [ratios(own, np.concatenate(parts[:g] + parts[g + 1 :]).mean(0)) for g, own in enumerate(parts)]
    return np.concatenate(found).mean()


@pytest.mark.parametrize("networks", [None, [slice(0, 4), slice(4, 11)]])
def test_both_variants_and_their_errors_equal_brute_force(networks):
    draws = 0.4 + np.random.default_rng(0).standard_normal((47, 11)) * np.linspace(0.5, 2, 11)
    G = 6
    parts = np.array_split(draws, G)
    found = dsnr_of(draws, G, networks)
    kept = [parts[:g] + parts[g + 1 :] for g in range(G)]
    for name, function in (
        ("dsnr", cross_fit),
        ("dsnr_in_sample", lambda p: ratios(np.concatenate(p), np.concatenate(p).mean(0)).mean()),
    ):
        assert found[name].value == pytest.approx(function(parts))
        expected = jackknife_stderr(np.array([function(k) for k in kept]))
        assert found[name].stderr == pytest.approx(float(expected))


def test_isotropic_noise():
    """Cross-fitting reads what a random direction reads; in-sample reads more."""
    assert [round(noise_dsnr(D), 3) for D in (20, 400, 420)] == [0.191, 0.040, 0.039]
    found = [dsnr_of(np.random.default_rng(seed).standard_normal((200, 20))) for seed in range(100)]
    assert within([f["dsnr"].value for f in found], noise_dsnr(20))
    excess = np.array([f["dsnr_in_sample"].value for f in found]) - noise_dsnr(20)
    assert excess.mean() > 8 * excess.std(ddof=1) / math.sqrt(len(excess))


def test_strong_signal_reads_what_the_true_direction_gives():
    rng = np.random.default_rng(1)
    mean, sd = np.array([3.0, 1.0, -2.0, 0.5, 0.0, 1.0, -1.0]), np.linspace(0.3, 0.8, 7)
    truth = ratios(mean + sd * rng.standard_normal((400_000, 7)), mean).mean()
    found = dsnr_of(mean + sd * rng.standard_normal((600, 7)))
    for name in ("dsnr", "dsnr_in_sample"):
        assert abs(found[name].value - truth) < 4 * found[name].stderr
        assert found[name].stderr < 0.03 * truth


@pytest.mark.parametrize("draws", [np.ones((40, 1)), np.zeros((40, 5)), np.eye(3)[np.zeros(40, int)]])
def test_no_direction_or_nothing_across_it_is_nan(draws):
    """A single coordinate, no gradient at all, and one that never leaves its axis; without a warning."""
    assert all(math.isnan(f.value) for f in dsnr_of(draws).values())


def test_two_blocks_have_a_value_without_an_error():
    found = dsnr_of(np.random.default_rng(2).standard_normal((4, 6)), G=2)["dsnr"]
    assert found.value > 0
    assert math.isnan(found.stderr)


@pytest.fixture(scope="module")
def kept():
    model, x = toy(dim=3)
    plan = Plan(
        estimators=IWAE,
        K=2,
        M=(1, 3),
        draws=100,
        seed=2,
        dsnr=True,
        keep=("b[0]", "b[1]", "b[2]", "mu[1]", "A[4]"),
        how=Execution(chunk=7),
    )
    return diagnose(model, x, plan)


def values(kept, M, coordinate):
    rows = kept.kept[(kept.kept.M == M) & (kept.kept.coordinate == coordinate)]
    return rows.sort_values("draw").value.to_numpy()


def test_kept_draws_have_the_tables_moments(kept):
    """Direct draws exactly; of units the table adds the variances of single points, which agree within their error."""
    model, x = toy(dim=3)
    direct = diagnose(
        model, x, Plan(estimators=IWAE, K=2, draws=100, seed=2, direct=True, keep=("b[0]", "b[1]", "b[2]"))
    )
    for found in (direct, kept):
        draws = np.stack([values(found, 1, f"b[{i}]") for i in range(3)], axis=1)
        assert draws.shape == (100, 3)
        mean, variance = draws.mean(0), draws.var(0, ddof=1)
        table = found.table
        trace = row(table, "variance", "b", M=1)
        norm = row(table, "mean_norm", "b", M=1).value ** 2 + trace.value / 100
        assert norm == pytest.approx((mean**2).sum())
        if found is direct:
            assert trace.value == pytest.approx(variance.sum())
            assert row(table, "snr_mean", "b").value == pytest.approx((np.abs(mean) / np.sqrt(variance)).mean())
        else:
            error = np.sqrt(2 / 99 * (variance**2).sum())
            assert abs(trace.value - variance.sum()) < 4 * error


def test_averages_of_m_draws_stay_within_their_block(kept):
    """Blocks of five draws hold one group of three each; the two left over are dropped, not lent to the next block."""
    for coordinate in ("b[0]", "mu[1]", "A[4]"):
        expected = values(kept, 1, coordinate).reshape(20, 5)[:, :3].mean(1)
        np.testing.assert_allclose(values(kept, 3, coordinate), expected)


def test_dsnr_rows_are_those_of_the_draws():
    model, x = toy(dim=3)
    every = (
        tuple(f"A[{i}]" for i in range(9)) + tuple(f"b[{i}]" for i in range(3)) + tuple(f"mu[{i}]" for i in range(3))
    )
    found = diagnose(model, x, Plan(estimators=IWAE, K=2, draws=60, seed=3, dsnr=True, keep=every))
    draws = np.stack([values(found, 1, name) for name in every], axis=1)
    for block, columns in (("inference", slice(0, 12)), ("generative", slice(12, 15)), ("all", slice(0, 15))):
        expected = dsnr_of(draws[:, columns])
        for metric in ("dsnr", "dsnr_in_sample"):
            got = row(found.table, metric, block)
            assert (got.value, got.stderr) == pytest.approx((expected[metric].value, expected[metric].stderr))
        assert row(found.table, "dsnr", block).floor == pytest.approx(noise_dsnr(columns.stop - columns.start))


def test_what_is_lost_where_blocks_are_small_is_said():
    model, x = toy(dim=3)
    plan = Plan(estimators=IWAE, K=2, M=(1, 3, 10), draws=40, dsnr=True, keep=("b[0]",))
    found = diagnose(model, x, plan)
    assert set(found.table[found.table.metric == "dsnr"].M) == set(found.kept.M) == {1}
    (remark,) = found.remarks
    assert "no DSNR and no kept draws at M=3,10" in remark
    assert "draws=200" in remark
    enough = diagnose(model, x, plan.replaced(draws=200))
    assert set(enough.table[enough.table.metric == "dsnr"].M) == {1, 3, 10}
    for silent in (
        enough,
        diagnose(model, x, plan.replaced(direct=True)),
        diagnose(model, x, Plan(estimators=IWAE, K=2, M=10, draws=40)),
    ):
        assert silent.remarks == []


def test_weak_signal_is_flagged():
    model, x = toy(dim=3)
    weak, strong = (diagnose(model, x, Plan(estimators=IWAE, K=2, draws=R, seed=3, dsnr=True)).table for R in (4, 2000))
    assert "pulled towards its noise value" in row(weak, "dsnr", "inference").definition
    assert "pulled" not in row(strong, "dsnr", "inference").definition


@pytest.mark.parametrize("name", ["c[0]", "b", "b[3]", "b[-1]", "b[0", "b[x]", "b[²]", "inference[0]"])
def test_unknown_coordinates_are_refused_before_any_draw(name, monkeypatch):
    monkeypatch.setattr(Drawer, "moments", lambda *args: pytest.fail("drawn"))
    model, x = toy(dim=3)
    with pytest.raises(SpecError, match="keep"):
        diagnose(model, x, Plan(estimators=IWAE, K=2, draws=40, keep=(name,)))


def test_notable_coordinates_are_those_of_the_moments():
    model, x = toy(dim=3)
    names = [f"A[{i}]" for i in range(9)] + [f"b[{i}]" for i in range(3)]
    found = diagnose(model, x, Plan(estimators=IWAE, K=2, draws=80, keep=("largest", "median")))
    every = diagnose(model, x, Plan(estimators=IWAE, K=2, draws=80, keep=tuple(names)))
    means = {name: abs(values(every, 1, name).mean()) for name in names}
    ratio = {name: means[name] / values(every, 1, name).std(ddof=1) for name in names}
    median = np.median(list(ratio.values()))
    expected = {max(means, key=means.get), min(ratio, key=lambda name: abs(ratio[name] - median))}
    assert expected == {c for c in found.kept.coordinate.unique() if not c.startswith("mu")}
