"""Verdicts on differences over seeds: how often they are wrong, and that they are reached at all."""

import math

import numpy as np
import pytest

from snrkit.runs import orders

TRIALS = 2000
# Each estimator against each, as overlapping as orders get; and a single one.
CLAIMS = {"overlapping": [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d"), ("b", "d")], "single": [("a", "b")]}


def decided(claims, seeds, effect, own):
    """Verdicts ``[TRIALS, claims]``; a lies ``effect`` above the others. Luck of runs is 1, that of 50 points as large."""
    dice = np.random.default_rng(seeds)
    names = sorted({name for claim in claims for name in claim})
    runs = {name: dice.standard_normal((TRIALS, seeds, 1)) for name in names}
    points = {name: math.sqrt(50) * dice.standard_normal((TRIALS, 1, 50)) for name in names}
    runs["a"] += effect
    found = []
    for trial in range(TRIALS):
        values = {name: runs[name][trial] + (0 if own else points[name][trial]) for name in names}
        if own:
            asked = [orders.Order(a, b, (values[a] - values[b])[:, 0]) for a, b in claims]
        else:
            asked = [orders.pointwise(a, b, values[a], values[b]) for a, b in claims]
        found.append([decision.verdict for decision in orders.decide(asked)])
    return np.array(found)


@pytest.mark.rest_slow
@pytest.mark.parametrize("seeds", [2, 3])
@pytest.mark.parametrize("claims", CLAIMS)
@pytest.mark.parametrize("own", [True, False], ids=["seeds only", "seeds and points"])
def test_no_difference_is_decided_in_at_most_a_twentieth(seeds, claims, own):
    wrong = (decided(CLAIMS[claims], seeds, 0, own) != "undecided").mean(0)
    assert (wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / TRIALS)).all()


def test_large_differences_are_found():
    found = decided(CLAIMS["overlapping"], 3, 10, own=True)
    assert (found[:, 0] == "holds").mean() > 0.9
    assert (found[:, 0] == "does not hold").sum() == 0


def test_one_seed_or_no_spread_decides_nothing():
    one = orders.decide([orders.Order("a", "b", np.array([5.0]), own=4.0)])[0]
    assert (one.difference, one.error, one.verdict) == (5.0, 2.0, "undecided")
    assert orders.decide([orders.Order("a", "b", np.zeros(2))])[0].verdict == "undecided"
    assert orders.decide([]) == []


def test_errors_are_counted_once():
    """Spread 2 of two seeds: sqrt(2/2); draws of variance 1 are within it, those of 8 are not; points come on top."""
    seeds = np.array([1.0, 3.0])
    errors = [orders.decide([orders.Order("a", "b", seeds, *more)])[0].error for more in ((), (0, 1), (0, 8), (3, 8))]
    np.testing.assert_allclose(errors, np.sqrt([1, 1, 4, 7]))
