"""``snrkit train --snr-every``: measuring along the way changes nothing of the run."""

import itertools
import signal

import numpy as np
import pandas as pd
import pytest
import torch

from snrkit import watch
from snrkit.cli.main import main
from snrkit.errors import NonFiniteError
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR
from tests.support.program import TOY

MEASURE = ["--snr-K", "1,3", "--snr-draws", 8, "--snr-points", 4]


def call(*argv):
    main([str(arg) for arg in argv])  # a failure would exit


def train(out, *more):
    call("train", *TOY, "--epochs", 4, "--quiet", "--out", out, *more)
    return load_checkpoint(out)


def same(one, two):
    """Weights, optimiser state and place."""
    assert (one.epoch, one.step, one.position) == (two.epoch, two.step, two.position)
    assert one.model.keys() == two.model.keys()
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    assert one.optimiser["param_groups"] == two.optimiser["param_groups"]
    for a, b in zip(one.optimiser["state"].values(), two.optimiser["state"].values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)
    return True


@pytest.mark.parametrize("every", [1, 3])
def test_the_run_is_bit_identical_and_the_rows_are_there(tmp_path, every):
    plain, observed = train(tmp_path / "plain"), train(tmp_path / "run", "--snr-every", every, *MEASURE)
    assert same(plain, observed)
    assert not (tmp_path / "plain" / "snr.parquet").exists()
    table = SNR.read(tmp_path / "run" / "snr.parquet")
    assert sorted(table.step.unique()) == [5 * epoch for epoch in range(every, 5, every)]
    assert table.groupby("step").K.unique().map(sorted).map(tuple).unique().tolist() == [(1, 3)]
    assert set(table.draws) == {8}
    assert set(table.run) == {"run"}
    assert not table.duplicated(["step", "scope", "estimator", "M", "K", "block", "metric"]).any()
    # Each epoch measured its own parameters.
    norms = table[(table.metric == "variance") & (table.block == "all") & (table.K == 3)].value
    assert norms.nunique() == table.step.nunique()


def test_the_last_rows_are_those_measured_afterwards(tmp_path):
    train(tmp_path / "run", "--snr-every", 4, *MEASURE)
    call(
        "snr", "--ckpt", tmp_path / "run", "--K", "1,3", "--draws", 8, "--data-points", 4, "--device", "cpu", "--quiet",
        "--out", tmp_path / "after.parquet", "--json",
    )  # fmt: skip
    keys = ["step", "scope", "estimator", "M", "K", "block", "metric"]
    one, two = (SNR.read(p).set_index(keys) for p in (tmp_path / "run" / "snr.parquet", tmp_path / "after.parquet"))
    assert one.value.sort_index().equals(two.value.sort_index())


def diagnosed(monkeypatch, act):
    """Let every measurement along the way begin with this."""
    whole = watch.diagnose
    monkeypatch.setattr(watch, "diagnose", lambda *args, **kwargs: (act(), whole(*args, **kwargs))[1])


def stop(number):
    seen = itertools.count(1)
    return lambda: signal.raise_signal(signal.SIGINT) if next(seen) == number else None


def fail():
    raise NonFiniteError("gradient", "NaN", "none")


@pytest.mark.parametrize(("act", "state", "code"), [(fail, "failed", 3), (stop(1), "interrupted", 130)])
def test_a_measurement_that_fails_or_is_stopped_costs_no_epoch(tmp_path, monkeypatch, act, state, code):
    more = ["--snr-every", 4, *MEASURE]
    plain = train(tmp_path / "plain", *more)
    with monkeypatch.context() as patch:
        diagnosed(patch, act)
        with pytest.raises(SystemExit) as exit_:
            train(tmp_path / "run", *more)
    run = RunDir(tmp_path / "run")
    assert (exit_.value.code, run.state()) == (code, state)
    saved = load_checkpoint(run.checkpoint)
    assert (saved.epoch, saved.position, saved.step) == (3, 5, 20)
    assert not run.snr.exists()
    call("train", "--resume", "--quiet", "--device", "cpu", "--out", run.path, *more)
    assert same(plain, load_checkpoint(run.checkpoint))
    values = [SNR.read(tmp_path / name / "snr.parquet").value for name in ("plain", "run")]
    assert values[0].equals(values[1])


def test_a_second_signal_in_a_measurement_leaves_an_interrupted_run(tmp_path, monkeypatch):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    diagnosed(monkeypatch, twice)
    with pytest.raises(SystemExit) as exit_:
        train(tmp_path / "run", "--snr-every", 2, *MEASURE)
    assert (exit_.value.code, RunDir(tmp_path / "run").state()) == (130, "interrupted")
    assert load_checkpoint(tmp_path / "run").step == 10


def test_too_many_points_are_known_before_training(tmp_path, capsys):
    with pytest.raises(SystemExit):
        train(tmp_path / "run", "--snr-every", 4, "--snr-points", 99999)
    assert "99999 asked for" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_table_in_the_file_of_settings_says_the_same_as_the_flags(tmp_path):
    tables = "[measure]\nevery = 2\nK = [1, 3]\ndraws = 8\ndata_points = 4\n[execution]\nengine = 'factors'\n"
    (tmp_path / "my.toml").write_text(tables)
    one = train(tmp_path / "flags" / "run", "--snr-every", 2, *MEASURE)
    two = train(tmp_path / "file" / "run", "--config", tmp_path / "my.toml")
    three = train(tmp_path / "end" / "run", "--config", tmp_path / "my.toml", "--snr-every", 4)
    assert same(one, two)
    assert same(two, three)
    tables = [
        SNR.read(tmp_path / name / "run" / "snr.parquet").drop(columns="seconds") for name in ("flags", "file", "end")
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert set(tables[2].step) == {20}
    # Without saying when: after the last epoch, on noise from the run's own seed.
    (tmp_path / "last.toml").write_text("seed = 5\n[measure]\nK = 1\ndraws = 8\n")
    train(tmp_path / "last", "--config", tmp_path / "last.toml")
    last = SNR.read(tmp_path / "last" / "snr.parquet")
    assert (set(last.step), set(last.seed)) == ({20}, {5})


def test_runs_of_a_sweep_are_measured_alike_side_by_side_or_not(tmp_path):
    grid = """
    epochs = 2
    batch_size = 5
    eval_points = 0
    data = {name = "gaussian", size = 20, dim = 3}
    model = {name = "gaussian"}
    estimator.K = 3
    [measure]
    every = 1
    K = [1, 3]
    draws = 8
    data_points = 2
    [grid]
    seed = [0, 1]
    """
    (tmp_path / "grid.toml").write_text(grid)
    found = []
    for side_by_side in (1, 2):
        out = tmp_path / str(side_by_side)
        call("sweep", tmp_path / "grid.toml", "--out", out, "--ensemble", side_by_side, "--quiet", "--device", "cpu")
        found.append([SNR.read(run / "snr.parquet") for run in sorted(out.iterdir()) if run.is_dir()])
    for alone, beside in zip(*found, strict=True):
        assert sorted(alone.step.unique()) == [4, 8]
        assert list(alone.metric) == list(beside.metric)
        strong = alone.metric == "variance"
        np.testing.assert_allclose(alone.value[strong], beside.value[strong], rtol=1e-3)
    assert [set(table.seed) for table in found[0]] == [{0}, {1}]
