"""Which draws serve which row: jobs, nested samples, borrowed means."""

import contextlib
import math

import numpy as np
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import plain_gradient
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.noise import NestedNoise, Noise
from snrkit.diagnostics.plan import Job, Plan
from snrkit.diagnostics.problem import Problem
from snrkit.errors import SpecError
from snrkit.estimators.base import Units, build_estimator
from snrkit.specs.measure import MeasureSpec
from tests.diagnostics.synthetic import row
from tests.zoo import numbers, toy

IWAE, PIWAE, DREG = (build_estimator(n, {}) for n in ("iwae", "piwae", "dreg"))


def test_each_network_is_served_by_its_own_units():
    plan = Plan(estimators=(IWAE, PIWAE), K=3, M=(1, 4), draws=60)
    assert plan.jobs(IWAE, 4, 3) == plan.jobs(IWAE, 1, 3) == (Job(IWAE, 1, 3, False, 1, 60),) * 2
    # piwae's units are iwae's, of L samples for phi and of M L for theta.
    assert plan.jobs(PIWAE, 4, 3) == (Job(IWAE, 1, 3, False, 1, 60), Job(IWAE, 1, 12, False, 1, 60))
    assert plan.units(PIWAE, 4, 3) == (Units(IWAE, 3, 4), Units(IWAE, 12, 1))
    direct = Plan(estimators=PIWAE, K=3, M=4, draws=60, direct=True)
    assert direct.jobs(PIWAE, 4, 3) == (Job(PIWAE, 4, 3, True, 1, 60),) * 2


def test_counts_are_plain_and_come_once():
    plan = Plan(estimators=(IWAE, DREG, IWAE), K=tuple(np.array([5, 2, 5])), M=(1, 1))
    assert (plan.estimators, plan.K, plan.M) == ((IWAE, DREG), (5, 2), (1,))
    assert type(plan.K[0]) is int
    assert len(plan.grid) == 4


def test_nested_counts_must_divide():
    with pytest.raises(SpecError, match="divide"):
        Plan(estimators=IWAE, K=(3, 10), nested=True)
    with pytest.raises(SpecError, match="direct"):
        Plan(estimators=IWAE, K=(5, 10), nested=True, direct=True)


@pytest.mark.parametrize("draws", [4, 7, 39, 40, 41, 107])
@pytest.mark.parametrize("groups", [1, 3])
def test_blocks_are_whole_and_line_up(draws, groups):
    """Every draw in one block, at least two a block, and block j of every K cut out of the same large draws."""
    blocks = Job(IWAE, 1, 2, False, groups, draws * groups).blocks()
    assert [d for block in blocks for d in block] == list(range(draws * groups))
    large = Job(IWAE, 1, 6, False, 1, draws).blocks()
    assert [(b.start, b.stop) for b in blocks] == [(b.start * groups, b.stop * groups) for b in large]
    assert len(blocks) == min(20, draws // 2)
    assert min(map(len, large)) >= 2


def test_nested_noise_is_the_large_draws_noise_regrouped():
    points, groups, K, latent = 2, 3, 5, 4
    whole = Noise(Streams(1), (points, 1, groups * K, latent), torch.float64, torch.device("cpu"))
    every = whole.draw(0, range(7))  # [7, points, 1, 15, latent]
    expected = torch.stack(
        [every[r, :, :, g * K : (g + 1) * K] for r in range(7) for g in range(groups)]
    )  # consecutive draws of one large draw
    nested = NestedNoise(whole, groups)
    for draws in (range(21), range(1), range(4, 5), range(2, 20), range(3, 6)):
        assert torch.equal(nested.draw(0, draws), expected[draws.start : draws.stop])
    assert not torch.equal(nested.draw(1, range(3)), expected[:3])


def test_nested_gradients_are_those_of_the_regrouped_noise():
    model, x = toy(dim=3)
    large, small = Problem.units(model, x, 6, Streams(2)), Problem.units(model, x, 2, Streams(2), 3)
    assert (small.K, small.groups) == (2, 3)
    for group in range(3):
        whole = large.noise.draw(group, range(5, 6))[0]
        for part in range(3):
            found = plain_gradient(small, IWAE, small.x[group], small.noise.draw(group, range(15 + part, 16 + part))[0])
            by_hand = plain_gradient(small, IWAE, x[group : group + 1], whole[:, :, 2 * part : 2 * part + 2])
            torch.testing.assert_close(found, by_hand, rtol=0, atol=0)


def test_nested_rows_rest_on_more_draws():
    model, x = toy(dim=3)
    nested, plain = (
        diagnose(model, x, Plan(estimators=IWAE, K=(1, 6), draws=60, nested=n)).table for n in (True, False)
    )
    assert nested.groupby("K").draws.unique().map(list).to_dict() == {1: [360], 6: [60]}
    assert plain.groupby("K").draws.unique().map(list).to_dict() == {1: [60], 6: [60]}
    largest = [
        t[t.K == 6].drop(columns=["seconds", "method", "nested"]).reset_index(drop=True) for t in (nested, plain)
    ]
    assert largest[0].equals(largest[1])
    floors = [row(t, "snr_mean", "inference", K=1).floor for t in (nested, plain)]
    assert floors[1] / floors[0] == pytest.approx(math.sqrt(6))
    exact = model.gradient_moments(x)["b"]
    found = row(nested, "variance", "b", K=1)
    assert abs(found.value - float(exact[1].sum()) / 9) < 4 * found.stderr


@pytest.mark.slow
def test_a_borrowed_mean_is_nearer_to_the_truth():
    """DReG's mean over IWAE's spread, against both of a long run."""
    x = 1.4 * numbers(1, 3, 4)
    model = type(toy()[0]).optimum(x.mean(0))
    for i, parameter in enumerate(model.parameters()):
        parameter.data.add_(0.05 * numbers(20 + i, *parameter.shape))

    def found(draws, seed, mean_from):
        return diagnose(model, x, Plan(estimators=IWAE, K=20, draws=draws, seed=seed, mean_from=mean_from)).table

    truth = row(found(500, 99, "dreg"), "snr_pooled_squared", "inference")
    own, lent = (
        [row(found(60, seed, m), "snr_pooled_squared", "inference") for seed in range(5)] for m in (None, "dreg")
    )
    errors = [math.sqrt(np.mean([(r.value - truth.value) ** 2 for r in rows])) for rows in (own, lent)]
    assert errors[1] < errors[0] / 2
    for rows in (own, lent):
        z = [(r.value - truth.value) / math.hypot(r.stderr, truth.stderr) for r in rows]
        assert abs(np.mean(z)) < 4 / math.sqrt(len(z))
        assert np.mean([r.value for r in rows]) > 0
    tables = [found(60, 1, m) for m in (None, "dreg")]
    for metric in ("snr_mean", "snr_median", "snr_pooled", "snr_pooled_squared"):
        one, other = (row(t, metric, "inference") for t in tables)
        assert other.floor < one.floor / 3, metric
        assert "dreg draws" in other.definition
        assert "dreg" not in one.definition
    assert max(r.stderr for r in lent) < min(r.stderr for r in own)


@pytest.mark.parametrize("name", ["miwae", "piwae"])
def test_direct_draws_of_other_units_cannot_borrow(name):
    estimator = build_estimator(name, {})
    assert Plan(estimators=estimator, K=4, M=2, mean_from="dreg").jobs(estimator, 2, 4)
    with pytest.raises(SpecError, match="without direct"):
        Plan(estimators=estimator, K=4, M=2, mean_from="dreg", direct=True)
    assert Plan(estimators=(IWAE, estimator), K=4, M=2, mean_from="dreg", direct=True)


def test_what_is_borrowed_is_the_mean_alone():
    model, x = toy(dim=3)
    own, lent, other = (
        diagnose(model, x, Plan(estimators=e, K=4, draws=60, mean_from=m)).table
        for e, m in ((IWAE, None), (IWAE, "dreg"), (DREG, None))
    )
    for metric, source in (("variance", own), ("monte_carlo_variance", own), ("mean_norm", other)):
        scope = "points" if metric == "monte_carlo_variance" else "minibatch"
        found, expected = (row(t, metric, "inference", scope=scope) for t in (lent, source))
        assert (found.value, found.stderr) == (expected.value, expected.stderr)
    norm = row(lent, "mean_norm", "inference").value
    scale = row(lent, "noise_scale", "inference")
    # Products of different blocks, and the sum of squares less the variance, estimate the same norm.
    assert scale.value == pytest.approx(row(own, "variance", "inference").value / norm**2, rel=1e-2)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("iwae", {}, (1, 10, 100, 1000)),
        ("vimco", {}, (2, 10, 100, 1000)),
        ("ovis-mc", {"S": 10}, (12, 100, 1000)),
        ("u-statistic", {"inner": 8}, (8, 16, 104, 1000)),
    ],
)
def test_numbers_of_samples_that_nobody_gave_suit_the_estimators(name, options, expected):
    estimator = build_estimator(name, options)
    assert expected == Plan.of(MeasureSpec(), estimator).K
    with pytest.raises(SpecError, match=r"got 1") if expected[0] > 1 else contextlib.nullcontext():
        Plan.of(MeasureSpec(K=(1,)), estimator)
