"""Draws on an NVIDIA GPU: as many at once as memory allows, without waiting for the device."""

import warnings

import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize, pass_size
from snrkit.diagnostics.engines.factors import FactorEngine
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.weights import WeightTally
from snrkit.estimators.base import build_estimator
from tests.awkward import Narrow, awkward
from tests.contract.test_strangers import job_of
from tests.zoo import conv, images, mlp

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
IWAE = build_estimator("iwae", {})


def problem_of(model, K, points=1, dtype=torch.float64):
    return Problem.units(model.to("cuda", dtype), images(points=points).to("cuda", dtype), K, Streams(0))


def moments(engine, problem, size, draws=range(2, 12)):
    return engine.moments(problem, IWAE, range(problem.groups), draws, size)


def assert_same(found, expected, tolerance):
    for kind in ("mean", "m2"):
        for one, other in zip(getattr(found, kind), getattr(expected, kind), strict=True):
            assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("K", [1, 5])
@pytest.mark.parametrize("points", [3, 66])
@pytest.mark.parametrize("size", [PassSize(4, 12), PassSize(10**6, 10**6)], ids=["small passes", "one pass"])
def test_factors_give_the_loops_moments(K, points, size):
    problem = problem_of(mlp(), K, points)
    assert set(FactorEngine().serving(problem, IWAE).values()) == {"factors"}
    assert_same(moments(FactorEngine(), problem, size), moments(LoopEngine(), problem, PassSize(1, 10**6)), 1e-10)


@pytest.mark.parametrize("K", [1, 5])
def test_a_small_variance_beside_a_large_mean_is_kept_in_float32(K):
    problem = problem_of(awkward(Narrow), K, dtype=torch.float32)
    size = PassSize(16, 10**6)
    # Of the variance float32 keeps three digits beside a mean of 3,000 standard deviations, on either side.
    assert_same(moments(FactorEngine(), problem, size), moments(LoopEngine(), problem, size), 5e-3)


def waits(call):
    """How often the host waits for the device in a call."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


@pytest.mark.parametrize("K", [1, 5])
def test_more_passes_do_not_wait_more(K):
    problem, engine, size = problem_of(mlp(), K), FactorEngine(), PassSize(4, 8 * K)
    moments(engine, problem, size)
    few, many = (waits(lambda n=n: moments(engine, problem, size, range(n))) for n in (20, 200))
    assert few == many <= 4


def test_log_weights_are_counted_with_one_wait():
    tally = WeightTally(job_of(draws=4), 1, 4)
    log_w = torch.zeros(3, 4, 5, device="cuda")
    assert waits(lambda: tally.add(0, range(4), log_w)) <= 1


def test_passes_are_large_and_noise_is_the_same_in_any_portions():
    problem = problem_of(mlp(dtype=torch.float32), 5, dtype=torch.float32)
    assert pass_size(problem, IWAE, None).units > 1000
    assert problem.noise._rows == 2**22 // (5 * 4)
    whole = problem.noise.draw(0, range(40))
    assert torch.equal(problem.noise.draw(0, range(7, 9)), whole[7:9])


def test_a_convolutional_model_is_drawn_many_at_once():
    problem = problem_of(conv(), 5)
    served = FactorEngine().serving(problem, IWAE)
    assert "loop" not in served.values()
