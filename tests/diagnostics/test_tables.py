"""Comparisons of estimators, and which rows there are."""

import math

import numpy as np
import pytest

from snrkit.diagnostics.intervals import jackknife_stderr
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.estimators.base import build_estimator
from tests.diagnostics.synthetic import row
from tests.zoo import images, mlp, numbers, toy

VAE, IWAE = (build_estimator(n, {}) for n in ("vae", "iwae"))


@pytest.fixture(scope="module")
def compared():
    """The toy near its optimum, where the inference network's SNR falls with K for iwae and rises for vae."""
    x = 1.4 * numbers(1, 3, 4)
    model = type(toy()[0]).optimum(x.mean(0))
    for i, parameter in enumerate(model.parameters()):
        parameter.data.add_(0.05 * numbers(20 + i, *parameter.shape))
    return diagnose(model, x, Plan(estimators=(VAE, IWAE), K=(1, 30), M=(1, 2), draws=400, seed=1))


def comparison(measured, block, K, M=1):
    rows = measured.comparisons
    rows = rows[(rows.block == block) & (rows.K == K) & (rows.M == M)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_winner_at_many_samples(compared):
    found = comparison(compared, "inference", 30)
    assert (found["first"], found["second"], found.verdict) == ("vae", "iwae", "vae is larger")
    assert found.ci_low > 0
    strengths = [compared.strength(e, 1, 30)["inference"].interval.value for e in (VAE, IWAE)]
    assert found.log_ratio == pytest.approx(0.5 * math.log(strengths[0] / strengths[1]))
    # Both average M units, so that their ratio is the same.
    assert comparison(compared, "inference", 30, 2).log_ratio == pytest.approx(found.log_ratio)


def test_one_sample_is_a_tie(compared):
    found = comparison(compared, "inference", 1)
    assert (found.log_ratio, found.stderr) == pytest.approx((0, 0), abs=1e-12)
    assert "cannot tell" in found.verdict or abs(found.ci_high) < 1e-9


def test_errors_are_paired_replicate_by_replicate(compared):
    one, two = (compared.strength(e, 1, 30)["generative"] for e in (VAE, IWAE))
    expected = jackknife_stderr(0.5 * np.log(one.replicates / two.replicates))
    assert comparison(compared, "generative", 30).stderr == pytest.approx(float(expected))


def test_the_same_noise_makes_differences_sharper():
    model, x = toy(dim=3)
    ciwae = build_estimator("ciwae", {"beta": 0.5})
    found = diagnose(model, x, Plan(estimators=(ciwae, IWAE), K=6, draws=400, seed=2))
    for block in ("inference", "generative", "all"):
        paired = comparison(found, block, 6)
        single = [row(found.table, "snr_pooled", block, estimator=n) for n in ("ciwae", "iwae")]
        unpaired = math.hypot(*(s.stderr / s.value for s in single))
        assert paired.stderr < 0.8 * unpaired, block
        assert paired["first"] == "ciwae (beta=0.5)"


def test_weight_rows_are_those_of_k_samples():
    model, x = toy(dim=3)
    table = diagnose(model, x, Plan(estimators=(VAE, IWAE), K=(1, 6), M=(1, 2), draws=40)).table
    for name in ("vae", "iwae"):
        assert row(table, "ess", "all", estimator=name, K=1, M=1).value == pytest.approx(1)
        found = row(table, "ess", "all", estimator=name, K=6, M=2)
        assert 1 + 4 * found.stderr < found.value < 6
        assert 1 / 6 < row(table, "largest_weight", "all", estimator=name, K=6, M=2).value < 1


def test_rows_come_once_and_say_whether_they_are_complete():
    table = diagnose(
        mlp(), images(), Plan(estimators=(IWAE, build_estimator("piwae", {})), K=(1, 2), M=(1, 3), draws=8)
    ).table
    assert not table.duplicated(["scope", "estimator", "M", "K", "block", "metric"]).any()
    assert table.complete.all()
