"""Slopes and their verdicts."""

import math

import numpy as np
import pytest

from snrkit.diagnostics.intervals import delete_one, jackknife_stderr
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.slopes import LARGEST_EXPANSION_TERM, fit, judge
from tests.zoo import images, mlp, numbers, toy

K = np.array([10, 30, 100, 300])
G = 20
EQUAL = np.ones(4)


def replicated(squares, spread=0.0, seed=0):
    """Squares over G blocks with a common relative noise: what all blocks, and all but one, give."""
    noise = 1 + spread * np.random.default_rng(seed).standard_normal((G, len(squares)))
    blocks = squares * noise
    return blocks.mean(0), delete_one(G) @ blocks / (G - 1)


def law(exponent, spread=0.0, seed=0, scale=0.3):
    return replicated(scale * K ** (2 * exponent), spread, seed)


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("weights", [EQUAL, 1 / K, 1 / K**2])
def test_a_power_law_gives_its_exponent(exponent, weights):
    found = judge(list(K), *law(exponent), exponent, 0.0, weights)
    assert found.interval.value == pytest.approx(exponent, abs=1e-12)
    assert found.interval.stderr == pytest.approx(0, abs=1e-12)
    assert found.verdict == "agrees"


def test_fit_is_weighted_least_squares_in_value_and_replicates():
    squares, replicates = law(-0.4, 0.2)
    weights = 1 / K**0.7

    def by_hand(s):
        return np.polyfit(np.log(K), 0.5 * np.log(s), 1, w=np.sqrt(weights))[0]

    found = judge(list(K), squares, replicates, -0.5, 0.0, weights).interval
    assert found.value == pytest.approx(by_hand(squares))
    assert found.stderr == pytest.approx(float(jackknife_stderr(np.array([by_hand(r) for r in replicates]))))
    np.testing.assert_allclose(fit(np.log(K), np.stack([squares, squares]), weights), fit(np.log(K), squares, weights))


def test_the_interval_covers_the_exponent():
    repeats = 300
    found = [judge(list(K), *law(-0.5, 0.3, seed), -0.5, 0.0, 1 / K).interval for seed in range(repeats)]
    covered = np.mean([f.low <= -0.5 <= f.high for f in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / repeats)
    spread = np.std([f.value for f in found], ddof=1)
    # The variance of an estimated variance with G - 1 degrees, over so many repetitions, on both sides.
    assert np.mean([f.stderr**2 for f in found]) == pytest.approx(
        spread**2, rel=4 * math.sqrt(2 / repeats + 2 / (G - 1) / repeats)
    )


def test_a_straight_line_of_another_slope_disagrees():
    found = judge(list(K), *law(-0.2, 0.01), -0.5, LARGEST_EXPANSION_TERM, EQUAL)
    assert found.verdict == "disagrees"
    assert f"{found.interval.value:+.3f}" in found.reason


def test_a_wide_interval_around_the_expected_slope_is_no_agreement():
    found = judge(list(K), *law(-0.5, 1.2, seed=3), -0.5, 0.0, EQUAL)
    assert found.interval.high - found.interval.value > 0.15
    assert found.verdict == "cannot tell"
    assert "draw more" in found.reason


@pytest.mark.parametrize("bad", [-1e-3, 0.0, math.nan])
@pytest.mark.parametrize("where", ["value", "replicate"])
def test_no_signal_is_not_fitted(bad, where):
    """NaN is what a block that never moves gives."""
    squares, replicates = law(-0.5)
    (squares if where == "value" else replicates[5])[2] = bad
    found = judge(list(K), squares, replicates, -0.5, 0.0, EQUAL)
    assert found.verdict == "cannot tell"
    assert "at 100;" in found.reason
    assert math.isnan(found.interval.value)


def test_uneven_weights_are_the_reason_where_theory_is_not_yet_due():
    found = judge(list(K), *law(-0.2, 0.01), -0.5, 1.3 * LARGEST_EXPANSION_TERM, EQUAL)
    assert found.verdict == "not in the asymptotic regime"
    assert "Var[w]" in found.reason


def test_a_bend_is_the_reason_where_the_curve_is_not_straight():
    squares, replicates = replicated(0.3 / (1 + K / 60.0), 0.01)
    found = judge(list(K), squares, replicates, -0.5, 0.0, EQUAL)
    assert found.verdict == "not in the asymptotic regime"
    assert "bends" in found.reason
    # What is agreed on needs no reason.
    assert judge(list(K), *law(-0.5), -0.5, 9.0, EQUAL).verdict == "agrees"


@pytest.fixture(scope="module")
def near():
    """The toy not far from its optimum."""
    x = 1.4 * numbers(1, 6, 3)
    model = type(toy()[0]).optimum(x.mean(0))
    for i, parameter in enumerate(model.parameters()):
        parameter.data.add_(0.2 * numbers(20 + i, *parameter.shape))
    return model, x


@pytest.mark.rest_slow
@pytest.mark.parametrize("nested", [False, True])
def test_slopes_of_the_table(near, nested):
    """phi weighs by SNR^2 ~ 1/K; where draws are nested all weigh by their number ~ 1/K."""
    names = ("iwae", "vae")
    plan = Plan(
        estimators=names,
        K=(10, 1, 5),
        M=(1, 4),
        draws=120,
        seed=1,
        nested=nested,
    )
    found = diagnose(*near, plan)
    samples = np.array([1.0, 5, 10])
    for block, power in (("inference", -1), ("b", -1), ("generative", 0), ("mu", 0)):
        weights = 1 / samples if nested else samples**power
        squares = [found.strength(plan.estimators[0], 1, int(k))[block].interval.value for k in samples]
        slope = found.slopes[(found.slopes.estimator == "iwae") & (found.slopes.block == block)].set_index("fixed")
        expected = np.polyfit(np.log(samples), 0.5 * np.log(squares), 1, w=np.sqrt(weights))[0]
        assert slope.slope[1] == pytest.approx(expected)
        assert slope.slope[4] == pytest.approx(expected)  # by algebra
        assert set(slope.expected) == {-0.5 if power else 0.5}
    # Both networks together have a rate only where it is the same.
    assert set(found.slopes[found.slopes.block == "all"].estimator) == {"vae"}
    assert set(found.slopes.axis) == {"K"}


def test_slopes_against_m_are_fitted_to_direct_draws_only(near):
    plan = Plan(estimators="iwae", K=2, M=(1, 3, 7), draws=1000, seed=2, direct=True)
    found = diagnose(*near, plan).slopes.set_index("block")
    assert set(found.axis) == {"M"}
    assert found.over["inference"] == "1,3,7"
    assert abs(found.slope["inference"] - 0.5) < 4 * found.stderr["inference"] < 0.3


def test_fewer_than_three_points_are_no_line(near):
    assert diagnose(*near, Plan(estimators="iwae", K=(1, 3), draws=40)).slopes.empty


def test_a_tensor_that_never_moves_is_not_said_to_disagree():
    model = mlp()
    for parameter in model.decoder.parameters():
        parameter.data.zero_()
    x = images()
    x[:, 0] = 0
    found = diagnose(model, x, Plan(estimators="iwae", K=(1, 2, 3), draws=8)).slopes
    dead = found[found.slope.isna()]
    assert len(dead)
    assert set(dead.verdict) == {"cannot tell"}
