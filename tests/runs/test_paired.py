"""Paired differences: how often they are told where there is none, that they are told where there is one, and of what size."""

import math

import numpy as np
import pytest
from scipy import stats

from snrkit.runs.paired import of_points, of_runs

TRIALS, POINTS = 1500, 40
LIMIT = 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)


def drawn(dice, runs, spread, effect=0.0):
    """Differences ``[runs, points]``: luck of the points 1, of the runs ``spread``, of each reading 0.3, as standard errors."""
    points = math.sqrt(POINTS) * dice.standard_normal((1, POINTS))
    own = 0.3 * math.sqrt(POINTS) * dice.standard_normal((runs, POINTS))
    return effect + points + (spread * dice.standard_normal((runs, 1)) if runs > 1 else 0) + own


@pytest.mark.rest_slow
@pytest.mark.parametrize(("runs", "spread"), [(2, 0.5), (1, 0), (2, 0), (2, 3), (3, 0.5), (3, 3), (5, 1), (5, 10)])
def test_no_difference_is_told_in_at_most_a_twentieth(runs, spread):
    dice = np.random.default_rng(runs)
    told = [of_points(drawn(dice, runs, spread)).verdict != "cannot tell" for _ in range(TRIALS)]
    assert np.mean(told) <= LIMIT


@pytest.mark.rest_slow
@pytest.mark.parametrize("runs", [1, 4])
def test_of_several_comparisons_with_one_baseline_none_is_told_in_nineteen_of_twenty(runs):
    dice = np.random.default_rng(9)
    wrong = 0
    for _ in range(TRIALS):
        base = drawn(dice, runs, 1)
        wrong += any(of_points(drawn(dice, runs, 1) - base, 4).verdict != "cannot tell" for _ in range(4))
    assert wrong / TRIALS <= LIMIT


def test_the_tellable_size_is_told_four_times_out_of_five():
    dice = np.random.default_rng(0)
    size = np.median([of_points(drawn(dice, 1, 0)).tellable for _ in range(200)])
    told = np.mean([of_points(drawn(dice, 1, 0, size)).verdict == "higher" for _ in range(TRIALS)])
    assert abs(told - 0.8) < 4 * math.sqrt(0.8 * 0.2 / TRIALS) + 0.01


def test_either_kind_of_error_alone_is_students_t():
    dice = np.random.default_rng(1)
    points = dice.standard_normal((1, 30)) + 0.3
    found, test = of_points(points), stats.ttest_1samp(points[0], 0).confidence_interval()
    np.testing.assert_allclose((found.low, found.high), test)
    seeds = dice.standard_normal(6)
    found, test = of_runs(seeds, own=0.0), stats.ttest_1samp(seeds, 0).confidence_interval()
    np.testing.assert_allclose((found.low, found.high), test)


def test_the_sign_is_that_of_the_first_minus_the_second():
    better = np.full((1, 20), 3.0) + np.linspace(-0.1, 0.1, 20)
    assert (of_points(better).verdict, of_points(-better).verdict) == ("higher", "lower")


def test_points_that_both_share_cancel():
    """Five nats of luck on either side, and a tenth between them: -204 ± 5 against -204 ± 5 is told."""
    dice = np.random.default_rng(2)
    luck = -204 + 80 * dice.standard_normal((1, 250))
    first, second = luck + 0.5 + 0.5 * dice.standard_normal((1, 250)), luck
    assert of_points(first - second).verdict == "higher"
    own = (first.var() + second.var()) / 250
    assert of_runs([first.mean() - second.mean()], own=own).verdict == "cannot tell"


def test_draws_are_in_the_spread_of_runs_and_points_are_not():
    spread = [1.0, 3.0, 2.0]
    assert of_runs(spread, own=0.01, shared=False).stderr == pytest.approx(math.sqrt(1 / 3))
    assert of_runs(spread, own=12.0, shared=False).stderr == pytest.approx(2.0)
    assert of_runs(spread, own=1.0, shared=True).stderr == pytest.approx(math.sqrt(1 + 1 / 3))


def test_nothing_is_told_without_an_error():
    assert of_runs([3.0, 3.0], own=0.0).verdict == "cannot tell"
    assert of_runs([3.0], own=math.nan).verdict == "cannot tell"
    assert math.isnan(of_runs([3.0], own=math.nan).low)
    assert of_points(np.array([[2.0]])).verdict == "cannot tell"


def test_what_is_equal_throughout_is_equal():
    assert of_points(np.zeros((2, 9))).verdict == of_runs([0.0, 0.0], own=0.0).verdict == "equal"
    assert of_runs([0.0], own=1.0).verdict == "cannot tell"
