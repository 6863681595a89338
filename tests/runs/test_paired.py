"""Paired differences: how often they are told where there is none, that they are where there is one, and of what size."""

import math

import numpy as np
import pytest
from scipy import stats

from snrkit.runs.paired import Pair, differences

TRIALS, POINTS = 1200, 40


def limit(level):
    return level + 3 * math.sqrt(level * (1 - level) / TRIALS)


def drawn(dice, runs, spread, effect=0.0):
    """Values ``[runs, points]``: luck of the points 1, of the runs ``spread``, of each reading 0.3, as standard errors."""
    points = math.sqrt(POINTS) * dice.standard_normal((1, POINTS))
    own = 0.3 * math.sqrt(POINTS) * dice.standard_normal((runs, POINTS))
    return effect + points + (spread * dice.standard_normal((runs, 1)) if runs > 1 else 0) + own


def told(pairs):
    return [found.verdict != "cannot tell" for found in differences(pairs)]


@pytest.mark.rest_slow
@pytest.mark.parametrize(("runs", "spread"), [(2, 0.5), (1, 0), (2, 0), (2, 3), (3, 0.5), (3, 3), (5, 1), (5, 10)])
def test_no_difference_is_told_in_at_most_a_twentieth(runs, spread):
    dice = np.random.default_rng(runs)
    wrong = [told([Pair.of_points(drawn(dice, runs, spread))])[0] for _ in range(TRIALS)]
    assert np.mean(wrong) <= limit(0.05)


@pytest.mark.rest_slow
@pytest.mark.parametrize(("odd", "level"), [(1, 0.05), (0.1, 0.0625), (10, 0.0625)])
@pytest.mark.parametrize("runs", [2, 1, 4])
def test_tables_that_tell_any_of_four_equals_apart_are_few(runs, odd, level):
    """One setting spreads ``odd`` times as much over seeds as the others and the baseline."""
    dice = np.random.default_rng(9)
    wrong = 0
    for _ in range(TRIALS):
        base = drawn(dice, runs, 1)
        wrong += any(told([Pair.of_points(drawn(dice, runs, spread) - base) for spread in (1, 1, 1, odd)]))
    assert wrong / TRIALS <= limit(level)


def test_three_seeds_decide_together_what_each_pair_alone_does_not():
    dice = np.random.default_rng(4)
    base = dice.standard_normal(3)
    pairs = [Pair.of_values(6 + dice.standard_normal(3) - base, 0.0) for _ in range(5)]
    alone = 5 * [differences([pair])[0].stderr for pair in pairs]
    found = differences(pairs)
    assert sum(one.verdict == "higher" for one in found) >= 4
    assert all(one.stderr >= own - 1e-12 for one, own in zip(found, alone, strict=False))
    widest = [abs(np.diff(stats.ttest_1samp(p.seeds, 0).confidence_interval(1 - 0.05 / 5))[0]) for p in pairs]
    assert np.median([one.high - one.low for one in found]) < np.median(widest)


def test_the_tellable_size_is_told_four_times_out_of_five():
    dice = np.random.default_rng(0)
    size = np.median([differences([Pair.of_points(drawn(dice, 1, 0))])[0].tellable for _ in range(200)])
    hits = [differences([Pair.of_points(drawn(dice, 1, 0, size))])[0].verdict == "higher" for _ in range(TRIALS)]
    assert abs(np.mean(hits) - 0.8) < 4 * math.sqrt(0.8 * 0.2 / TRIALS)


def test_either_kind_of_error_alone_is_students_t():
    dice = np.random.default_rng(1)
    points, seeds = dice.standard_normal((1, 30)) + 0.3, dice.standard_normal(6)
    for pair, sample in ((Pair.of_points(points), points[0]), (Pair.of_values(seeds, 0.0), seeds)):
        found = differences([pair])[0]
        np.testing.assert_allclose((found.low, found.high), stats.ttest_1samp(sample, 0).confidence_interval())


def test_the_sign_is_that_of_the_first_minus_the_baseline():
    better = np.full((1, 20), 3.0) + np.linspace(-0.1, 0.1, 20)
    found = differences([Pair.of_points(better), Pair.of_points(-better)])
    assert [one.verdict for one in found] == ["higher", "lower"]


def test_points_that_both_share_cancel():
    """Five nats of luck on either side, and a tenth between them: -204 ± 5 against -204 ± 5 is told."""
    dice = np.random.default_rng(2)
    second = -204 + 80 * dice.standard_normal((1, 250))
    first = second + 0.5 + 0.5 * dice.standard_normal((1, 250))
    assert told([Pair.of_points(first - second)]) == [True]
    own = (first.var() + second.var()) / 250
    assert told([Pair.of_values([first.mean() - second.mean()], own)]) == [False]


def test_draws_are_in_the_spread_of_runs_and_points_are_not():
    spread = [1.0, 3.0, 2.0]
    pairs = [Pair.of_values(spread, 0.01, averages=True), Pair.of_values(spread, 12.0, averages=True),
             Pair.of_values(spread, 1.0)]  # fmt: skip
    np.testing.assert_allclose([one.stderr for one in differences(pairs)], np.sqrt([1 / 3, 4, 1 + 1 / 3]))


def test_nothing_is_told_without_an_error():
    pairs = [Pair.of_values([3.0], 0.0), Pair.of_values([3.0], math.nan), Pair.of_points(np.array([[2.0]]))]
    assert told(pairs) == [False, False, False]
    assert told([Pair.of_values([3.0, 3.0], 0.0)]) == [False]
    assert all(math.isnan(one.low) and math.isnan(one.tellable) for one in differences(pairs))


def test_what_is_not_known_in_every_run_has_neither_error_nor_interval():
    (found,) = differences([Pair.of_values([1.0, math.nan], 0.1, degrees=19, averages=True)])
    assert all(math.isnan(one) for one in (found.value, found.stderr, found.low, found.high, found.tellable))
    assert (found.verdict, found.runs) == ("cannot tell", 2)


def test_what_is_equal_throughout_is_equal_and_no_comparison():
    pairs = [Pair.of_points(np.zeros((2, 9))), Pair.of_values([0.0], 0.0), Pair.of_values([0.0], 1.0)]
    found = differences(pairs)
    assert [one.verdict for one in found] == ["equal", "equal", "cannot tell"]
    assert [one.together for one in found] == [0, 0, 1]


@pytest.mark.parametrize(("others", "quantile"), [(0, 1.959964), (1, 2.241403), (9, 2.807034)])
def test_intervals_hold_together(others, quantile):
    """Bonferroni, of the normal law where an error is known."""
    found = differences([Pair.of_values([2.1], 1.0) for _ in range(1 + others)])[0]
    assert [found.low, found.high] == pytest.approx([2.1 - quantile, 2.1 + quantile], abs=1e-6)
    assert found.verdict == ("cannot tell" if others else "higher")
    assert found.together == 1 + others
