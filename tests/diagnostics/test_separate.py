"""A measurement in which the inference network sees samples of its own, as training with ``update.samples=separate``."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import plain_gradient
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.store import Store
from snrkit.diagnostics.worker import problem_of
from snrkit.estimators.base import build_estimator
from snrkit.specs.measure import Execution
from tests.zoo import mlp, toy

ASKED = {"K": (4,), "M": (1, 2), "draws": 60}


def rows(model, x, network, samples, **changes):
    plan = Plan(estimators=("iwae", "dreg", "piwae"), samples=samples, **{**ASKED, **changes})
    table = diagnose(model, x, plan).table
    inside = table[table["block"].isin(network)]
    return inside.set_index(["estimator", "M", "K", "block", "metric", "scope"])[["value", "stderr"]]


@pytest.mark.slow
@pytest.mark.parametrize("direct", [False, True])
def test_the_generative_network_sees_what_it_saw_and_the_inference_network_other_samples(direct):
    model, x = toy(points=3)
    shared, separate = (rows(model, x, ("generative", "mu"), how, direct=direct) for how in ("shared", "separate"))
    pd.testing.assert_frame_equal(shared, separate)
    shared, separate = (rows(model, x, ("inference", "A", "b"), how, direct=direct) for how in ("shared", "separate"))
    assert list(shared.index) == list(separate.index)
    known = shared["value"].notna() & (shared.index.get_level_values("metric") == "snr_mean")
    assert (shared["value"][known] != separate["value"][known]).all()
    apart = (shared["value"] - separate["value"])[known] / np.hypot(shared["stderr"], separate["stderr"])[known]
    assert (apart.abs() < 5).all()


def test_a_table_says_so_and_has_no_block_of_both_networks():
    model, x = toy(points=2)
    table = diagnose(model, x, Plan(estimators="iwae", samples="separate", **ASKED)).table
    assert table["separate"].all()
    assert set(table["method"]) == {"units, separate samples"}
    assert set(table["block"]) == {"inference", "generative", "A", "b", "mu"}


@pytest.mark.parametrize("name", ["iwae", "dreg"])
def test_a_draw_is_the_gradient_on_the_stream_of_its_own(name):
    model, x = toy(points=2)
    plan = Plan(estimators=name, samples="separate", direct=True, **ASKED)
    own, _ = plan.jobs(plan.estimators[0], 2, 4)
    problem = problem_of(model, x, own, Streams(5))
    rows = problem.noise._rows
    noise = Streams(5).normal("draws-inference", (2, 4, 0, 0), (rows, 2, 2, 4, 4), dtype=x.dtype, device=x.device)
    assert torch.equal(problem.noise.draw(0, range(3)), noise[:3])
    estimator = build_estimator(name, {})
    expected = plain_gradient(problem, estimator, x, noise[1])
    whole = Execution(engine="loop")
    found = diagnose(model, x, plan.replaced(how=whole, seed=5, keep=("b[0]",))).kept
    value = found[(found["coordinate"] == "b[0]") & (found["M"] == 2)]["value"].iloc[1]
    assert value == pytest.approx(float(expected[problem.layout.names.index("b")][0]), rel=1e-12)


@pytest.mark.slow
def test_engines_agree_on_separate_samples():
    model, x = mlp(), torch.linspace(0, 1, 2 * 9, dtype=torch.float64).view(2, 9).round()
    tables = [
        diagnose(model, x, Plan(estimators="dreg", samples="separate", how=Execution(engine=engine), **ASKED)).table
        for engine in ("loop", "factors")
    ]
    np.testing.assert_allclose(tables[0]["value"], tables[1]["value"], rtol=1e-6, atol=1e-9)


def test_kept_blocks_of_either_noise_are_not_taken_for_one_another(tmp_path):
    plan = Plan(estimators="iwae", samples="separate", **ASKED)
    own, shared = plan.jobs(plan.estimators[0], 1, 4)
    store = Store(tmp_path, "context")
    assert replace(own, noise="shared") == shared
    assert store.file(own, range(3)) != store.file(shared, range(3))
