"""What is found of runs by workers is what one process finds, to the bit."""

import pandas as pd
import pytest

from snrkit.specs.measure import Execution, MeasureSpec


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run of ours, which travels as specification and tensors."""
    from snrkit.run import train
    from snrkit.specs.run import RunSpec

    data = {
        "data": {"name": "gaussian", "size": 23, "dim": 3}, "model": {"name": "gaussian", "options": {"perturb": 0.3}},
        "estimator": {"name": "iwae", "K": 4}, "epochs": 1, "batch_size": 5, "eval_points": 7,
    }  # fmt: skip
    return train(RunSpec.parse(data, "test"), tmp_path_factory.mktemp("fleet") / "run", device="cpu")


def equal(one, two, *apart):
    pd.testing.assert_frame_equal(one.drop(columns=list(apart)), two.drop(columns=list(apart)), check_exact=True)


def test_a_measurement(run, processes, tmp_path):
    spec = MeasureSpec(K=(2, 3), draws=12, data_points=3)
    alone = run.measure(spec, Execution(threads=1), out=tmp_path / "alone.parquet")
    found = run.measure(spec, out=tmp_path / "found.parquet", executor=processes)
    equal(alone.table, found.table, "seconds")


def test_an_evaluation(run, processes, tmp_path):
    few = {"samples": 2**17, "points": 5}
    alone = run.evaluate(**few, threads=1, out=tmp_path / "alone.json")
    found = run.evaluate(**few, executor=processes, out=tmp_path / "found.json")
    for name in ("table", "points", "latents"):
        equal(getattr(alone, name), getattr(found, name))


@pytest.mark.slow
def test_a_curve_over_beta(run, processes, tmp_path):
    alone = run.beta(4, draws=12, data_points=3, threads=1, out=tmp_path / "alone.csv")
    found = run.beta(4, draws=12, data_points=3, executor=processes, out=tmp_path / "found.csv")
    equal(alone.table, found.table)


@pytest.mark.slow
def test_advice(run, processes, tmp_path):
    asked = {"budget": 2, "estimators": ["vae", "iwae"], "draws": 12, "data_points": 3}
    alone = run.advise(**asked, threads=1, out=tmp_path / "alone.json")
    found = run.advise(**asked, executor=processes, out=tmp_path / "found.json")
    equal(alone.table, found.table, "seconds_per_step")
