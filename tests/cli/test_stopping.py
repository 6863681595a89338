"""Commands that are stopped: what is finished is kept, the same command goes on to the same result, states are true."""

import json
import os
import signal

import numpy as np
import pandas as pd
import pytest

from snrkit.diagnostics.worker import Worker
from snrkit.evaluation import portions
from snrkit.runs.folder import RunDir
from snrkit.training.trainer import Trainer
from tests.support.program import TOY

pytestmark = pytest.mark.slow


@pytest.fixture
def stopping(monkeypatch):
    """Sends a signal at the n-th call of a method."""

    def at(owner, name, n, number=signal.SIGINT):
        real, calls = getattr(owner, name), []

        def counted(*args, **kwargs):
            calls.append(1)
            if len(calls) == n:
                os.kill(os.getpid(), number)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)
        return calls

    return at


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGXCPU])
def test_every_signal_leaves_a_true_status(snrkit, tmp_path, stopping, number):
    stopping(Trainer, "report", 3, number)
    assert snrkit("train", *TOY, "--epochs", 3, "--out", tmp_path / "run").code == 130
    assert RunDir(tmp_path / "run").state() == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_second_signal_too(snrkit, tmp_path, monkeypatch, number):
    def twice(self, *_):
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(Trainer, "take_step", twice)
    assert snrkit("train", *TOY, "--epochs", 3, "--out", tmp_path / "run").code == 130
    assert RunDir(tmp_path / "run").state() == "interrupted"


def test_a_signal_while_a_run_begins(snrkit, tmp_path, monkeypatch):
    from snrkit.training import session

    begin = session.begin

    def and_stop(*args):
        begin(*args)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(session, "begin", and_stop)
    assert snrkit("train", *TOY, "--epochs", 3, "--out", tmp_path / "run").code == 130
    assert RunDir(tmp_path / "run").state() == "interrupted"


def test_a_second_signal_in_a_sweep(snrkit, tmp_path, monkeypatch):
    (tmp_path / "grid.toml").write_text(
        'epochs = 2\neval_points = 3\ndata = {name = "gaussian", size = 9, dim = 2}\nmodel = {name = "gaussian"}\n'
        "[grid]\nseed = [0, 1]\n"
    )

    def twice(self, *_):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "take_step", twice)
    assert snrkit("sweep", tmp_path / "grid.toml", "--out", tmp_path / "out", "--device", "cpu").code == 130
    states = [RunDir(path).state() for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert "running" not in states
    assert "interrupted" in states


def test_evaluate_goes_on(snrkit, toy_run, stopping, monkeypatch):
    argv = ["evaluate", "--ckpt", toy_run, "--samples", 128, "--device", "cpu", "--keep-points", "--keep-means"]
    assert snrkit(*argv, "--out", toy_run / "whole.json").code == 0
    monkeypatch.setattr(portions, "_MOST", 5)
    scored = stopping(portions, "point_scores", 3)
    stopped = snrkit(*argv, "--out", toy_run / "parts.json")
    assert (stopped.code, stopped.out) == (130, "")
    assert "the same command goes on" in stopped.err
    assert len(list((toy_run / "parts.partial").iterdir())) == 2
    assert snrkit(*argv, "--out", toy_run / "parts.json").code == 0
    assert len(scored) == 3 + 3  # 23 points in portions of 5 make 5, of which 2 were kept
    assert not (toy_run / "parts.partial").exists()
    whole, parts = (json.loads((toy_run / f"{name}.json").read_text()) for name in ("whole", "parts"))
    assert parts["rows"] == whole["rows"]
    for kind in ("points", "latents"):
        tables = [pd.read_parquet(toy_run / f"{name}.{kind}.parquet") for name in ("whole", "parts")]
        pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_portions_are_used_only_where_they_are_right(snrkit, toy_run, stopping, monkeypatch):
    argv = ["evaluate", "--ckpt", toy_run, "--device", "cpu", "--samples"]
    monkeypatch.setattr(portions, "_MOST", 8)
    scored = stopping(portions, "point_scores", 3)
    assert snrkit(*argv, 128).code == 130
    one, other = sorted((toy_run / "evaluation.partial").iterdir())
    content = dict(np.load(one))
    np.savez(one, **content | {"elbo": np.full_like(content["elbo"], np.nan)})
    other.write_bytes(other.read_bytes()[:200])
    assert snrkit(*argv, 130).code == 0  # other samples, other scores
    assert len(scored) == 6
    assert len(list((toy_run / "evaluation.partial").iterdir())) == 2
    assert snrkit(*argv, 128).code == 0
    assert len(scored) == 9
    assert not (toy_run / "evaluation.partial").exists()


def test_the_number_of_a_point_that_is_not_finite(snrkit, toy_run, monkeypatch):
    real = portions.point_scores

    def spoilt(model, x, samples, streams, progress):
        found = real(model, x, samples, streams, progress)
        if streams._first == 8:
            found.elbo[2] = np.nan
        return found

    monkeypatch.setattr(portions, "_MOST", 8)
    monkeypatch.setattr(portions, "point_scores", spoilt)
    result = snrkit("evaluate", "--ckpt", toy_run, "--samples", 128, "--device", "cpu")
    assert result.refused("the first test point 10", code=3)


@pytest.mark.parametrize(
    ("argv", "file"),
    [
        (["beta", "--K", 3, "--draws", 40, "--data-points", 2], "beta.csv"),
        (["advise", "--budget", 4, "--draws", 40, "--data-points", 2, "--estimator", "iwae,dreg"], "advice.json"),
    ],
)
def test_beta_and_advise_go_on(snrkit, toy_run, stopping, argv, file):
    argv = [*argv, "--ckpt", toy_run, "--device", "cpu"]
    assert snrkit(*argv, "--out", toy_run / "whole").code == 0
    drawn = stopping(Worker, "block", 30)
    stopped = snrkit(*argv)
    assert (stopped.code, stopped.out) == (130, "")
    assert "the same command goes on" in stopped.err
    assert not (toy_run / file).exists()
    before = len(drawn)
    kept = len(list((toy_run / file).with_suffix(".partial").glob("block-*")))
    assert kept == 30
    assert snrkit(*argv).code == 0
    whole = 3 * 20 if argv[0] == "beta" else 6 * 20
    assert len(drawn) - before == whole - kept
    assert not (toy_run / file).with_suffix(".partial").exists()
    if argv[0] == "beta":
        assert (toy_run / file).read_bytes() == (toy_run / "whole").read_bytes()
    else:
        one, two = (json.loads((toy_run / name).read_text())["table"] for name in ("whole", file))
        timeless = [[{k: v for k, v in row.items() if k != "seconds_per_step"} for row in rows] for rows in (one, two)]
        assert timeless[0] == timeless[1]


def test_advise_keeps_what_it_found_affordable(snrkit, toy_run, stopping, monkeypatch):
    from snrkit.diagnostics import budget

    argv = ["advise", "--ckpt", toy_run, "--seconds", 1, "--draws", 40, "--data-points", 2, "--estimator", "iwae"]
    monkeypatch.setattr(budget, "affordable", lambda *_: 4)
    stopping(Worker, "block", 30)
    assert snrkit(*argv).code == 130
    monkeypatch.setattr(budget, "affordable", lambda *_: 8)
    assert snrkit(*argv).code == 0
    assert json.loads((toy_run / "advice.json").read_text())["budget"] == 4
    assert not (toy_run / "advice.partial").exists()
    assert snrkit(*argv).code == 0
    assert json.loads((toy_run / "advice.json").read_text())["budget"] == 8
