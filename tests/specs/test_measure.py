"""The specification of a measurement: what it takes, what it refuses, and that it reads back equal."""

import tomllib

import numpy as np
import pytest
import torch

from snrkit.diagnostics.plan import Plan
from snrkit.errors import SpecError
from snrkit.estimators.base import build_estimator
from snrkit.specs.measure import Execution, MeasureFile, MeasureSpec, WatchSpec, What
from snrkit.specs.run import RunSpec


def test_toml_reads_back_equal():
    spec = MeasureSpec(
        K=[1, 10], estimators=["iwae", {"name": "ciwae", "options": {"beta": 0.5}}], blocks="all", keep="largest", dsnr=True
    )  # fmt: skip
    text = spec.to_toml()
    assert MeasureSpec(**tomllib.loads(text)) == spec


def test_estimators_take_options_in_words():
    tables = [{"name": "jvi", "options": {"dreg": 1.0}}, "iwae", {"name": "rws", "options": {"sleep": 0.5}}]
    assert MeasureSpec(estimators=["jvi dreg=1", "iwae", "rws sleep=0.5"]) == MeasureSpec(estimators=tables)


def test_numbers_of_other_libraries_are_plain():
    spec = MeasureSpec(K=torch.tensor([3, 1]), M=1e3, draws=np.int64(7), seed=torch.tensor(4), dsnr=np.bool_(True))
    assert (spec.K, spec.M, spec.draws, spec.seed, spec.dsnr) == ((3, 1), (1000,), 7, 4, True)
    assert all(type(value) is int for value in (*spec.K, *spec.M, spec.draws, spec.seed))


@pytest.mark.parametrize(
    ("field", "given", "said"),
    [
        ("K", 0, "K: must be an integer of at least 1, got 0; give e.g. K=[10]"),
        ("draws", 3, "draws: must be an integer of at least 4, got 3; leave it out for 1000"),
        ("draws", "100", "draws: must be an integer of at least 4, got '100'"),
        ("seed", 2**63, "seed: must be an integer of at least 0 and less than 2^63"),
        ("seed", "Own", "seed: must be an integer of at least 0, got 'Own'; leave it out for 0, or write 'own'"),
        ("bias", "all", "bias: must be 'none', 'bound' or 'log_p', got 'all'; leave it out for 'none'"),
        ("dsnr", 1, "dsnr: must be True or False, got 1"),
        ("draw", 1, "draw: no such setting; did you mean 'draws'?"),
        (
            "estimators",
            ["jvi dreg"],
            "estimators: cannot read the options of 'jvi dreg'; write for example 'jvi dreg=1'",
        ),
        ("estimators", [{"nam": "iwae"}], "estimators.0.name: field required"),
    ],
)
def test_refusals_are_one_sentence(field, given, said):
    with pytest.raises(SpecError) as caught:
        MeasureSpec(**{field: given})
    assert str(caught.value).startswith(said)
    with pytest.raises(SpecError) as caught:
        MeasureFile(measure={field: given})
    assert str(caught.value).startswith(f"measure.{said}")


@pytest.mark.parametrize("spec", [MeasureSpec(seed="own"), WatchSpec(), WatchSpec(seed="own")])
def test_own_noise_is_of_the_runs_seed_and_only_a_run_has_one(spec):
    assert type(spec)(**tomllib.loads(spec.to_toml())) == spec
    assert [spec.of(RunSpec(seed=seed)).seed for seed in (0, 7)] == [0, 7]
    assert type(spec)(seed=3).of(RunSpec(seed=7)).seed == 3
    with pytest.raises(SpecError, match=r"^seed: must be an integer"):
        Plan.of(spec, "iwae")


def test_what_was_left_out_is_left_out_of_a_run_too():
    spec = WatchSpec().of(RunSpec(seed=7))
    assert Plan.of(spec, "vimco").K == Plan.of(WatchSpec(seed=7), "vimco").K == (2, 10, 100)


def test_a_plan_is_made_of_a_specification_and_the_runs_own_estimator():
    own, dreg = build_estimator("iwae", {}), build_estimator("dreg", {})
    spec = MeasureSpec(K=[2, 6], draws=40, nested=True, mean_from="dreg", data_points=3)
    plan = Plan.of(spec, [own], Execution(chunk=7))
    assert plan.estimators == (own,)
    assert plan.how == Execution(engine="factors", chunk=7)
    assert all(getattr(plan, name) == getattr(spec, name) for name in What.model_fields)
    assert Plan.of(spec.replaced(estimators=("dreg", "dreg")), [own]).estimators == (dreg,)
    with pytest.raises(SpecError, match=r"^nested"):
        Plan.of(spec.replaced(direct=True), [own])
