"""Standard errors and intervals against quantiles from tables and numbers by hand."""

import math

import numpy as np
import pytest

from snrkit.diagnostics.intervals import Interval, half_sample_stderr, jackknife_stderr, root_of_square, student
from snrkit.diagnostics.metrics.strength import effective_coordinates
from tests.diagnostics.synthetic import within


@pytest.mark.parametrize(("blocks", "quantile"), [(2, 12.706205), (3, 4.302653), (20, 2.093024)])
def test_an_interval_is_students_with_one_degree_less_than_there_are_blocks(blocks, quantile):
    found = student(1.0, 0.5, blocks)
    assert (found.value, found.stderr) == (1.0, 0.5)
    assert [found.low, found.high] == pytest.approx([1 - 0.5 * quantile, 1 + 0.5 * quantile], rel=1e-6)


def test_errors_of_three_replicates_by_hand():
    replicates = np.array([[1.0], [2.0], [6.0]])
    assert jackknife_stderr(replicates) == pytest.approx([math.sqrt(2 / 3 * 14)])
    assert half_sample_stderr(replicates) == pytest.approx([math.sqrt(14 / 2)])


def test_a_root_has_the_error_of_the_delta_method():
    assert root_of_square(Interval(4.0, 0.8, -1.0, 9.0)) == Interval(2.0, 0.2, 0.0, 3.0)
    below = root_of_square(Interval(-4.0, 0.8, -5.0, -3.0))
    assert (below.value, below.low, below.high) == (0.0, 0.0, 0.0)
    assert math.isnan(below.stderr)


@pytest.mark.parametrize("G", [4, 20])
def test_the_trace_of_a_squared_covariance_is_unbiased(G):
    """With few blocks what centring takes from their products is most of what is to be found."""
    dice, scales = np.random.default_rng(G), np.linspace(0.5, 1.5, 12)
    trace, found = float((scales**2).sum()), []
    for _ in range(600):
        means = scales * dice.standard_normal((G, len(scales)))
        means -= means.mean(0)
        found.append(trace**2 / effective_coordinates(means @ means.T, trace, 10**9))
    assert within(found, (scales**4).sum())
