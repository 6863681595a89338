"""The analyses of Rainforth et al. 2018 and of its 2021 reproduction, from end to end on a few digits."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.common.runs import inference_snr
from analyses.mcharrak2021 import run as mcharrak2021
from analyses.mcharrak2021.mcharrak.evaluation import faulty
from analyses.rainforth2018 import run as rainforth2018
from snrkit.runs.folder import RunDir

pytestmark = pytest.mark.slow

ANALYSES = {"rainforth2018": rainforth2018.ANALYSIS, "mcharrak2021": mcharrak2021.ANALYSIS}
TINY = Path(__file__).parent / "tiny.toml"


@pytest.fixture
def call(tmp_path, capsys):
    """Runs sections of an analysis; returns what it printed."""

    def run(folder, *argv):
        ANALYSES[folder].main([*argv, "--settings", str(TINY), "--out", str(tmp_path)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def runs(call, tmp_path, tmp_path_factory):
    """A folder of the five estimators' finished runs, trained once."""
    kept, folder = tmp_path_factory.getbasetemp() / "rainforth-runs", tmp_path / "runs"
    if not kept.exists():
        call("rainforth2018", "orders")
        shutil.copytree(folder, kept)
    else:
        shutil.copytree(kept, folder)
    return folder


def table(folder, section):
    return pd.read_csv(folder / "results" / "tiny" / f"{section}.csv")


def test_rainforth(call, tmp_path):
    call("rainforth2018")
    assert len(table(tmp_path, "orders")) == 16
    assert set(table(tmp_path, "orders").verdict) <= {"holds", "does not hold", "undecided"}
    own = table(tmp_path, "table")
    assert own[own.metric == "log p̂"]["estimator (M, K)"].tolist() == [
        "vae (64, 1)", "iwae (1, 64)", "miwae (8, 8)", "piwae (8, 8)", "ciwae beta=0.5 (1, 64)",
    ]  # fmt: skip
    assert own[own.metric == "KL(Q‖P)"].published.tolist()[:2] == ["0.47 ± 0.20", "1.59 ± 0.10"]
    assert len(table(tmp_path, "training")) == 10
    curves = table(tmp_path, "curves").set_index(["curve", "M or beta"])
    # All three curves meet at iwae.
    assert curves.loc[("miwae in M", 1), "log p̂"] == curves.loc[("ciwae in beta", 0), "log p̂"]
    kept = tmp_path / "results" / "tiny" / "runs"
    assert {path.name for path in kept.iterdir()} == {path.name for path in (tmp_path / "runs").iterdir()}
    assert all((path / "evaluation.json").exists() for path in kept.iterdir())
    assert not list(kept.rglob("*.pt"))
    text = (tmp_path / "RESULTS-tiny.md").read_text()
    assert all(
        heading in text for heading in ("## Table 1", "## Orders", "## SNR along training", "## Metrics against")
    )


def test_rainforth_trains_nothing_twice_and_takes_runs_of_others(call, tmp_path):
    first = call("rainforth2018", "orders")
    runs = tmp_path / "runs"
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    again = call("rainforth2018", "orders", "--runs", str(runs))
    assert first.count("training ") == 10
    assert again.count("training ") == 0
    assert before == {path: path.stat().st_mtime_ns for path in runs.rglob("*") if path.is_file()}
    given, own = (pd.read_csv(tmp_path / "results" / name / "orders.csv") for name in ("runs", "tiny"))
    pd.testing.assert_frame_equal(given, own)


def test_given_runs_are_of_one_scale_and_stay_alone(call, runs, capsys):
    before = sorted(runs.rglob("*"))
    assert "curves: left out" in call("rainforth2018", "curves", "--runs", str(runs))
    assert "no finished runs of piwae (8, 8) on digits, mlp, update" in refused(
        call, capsys, "mcharrak2021", "updates", runs
    )
    assert before == sorted(path for path in runs.rglob("*") if "evaluation" not in path.name or path in before)
    other = next(runs.glob("digits-iwae-*"))
    config = other / "config.toml"
    config.write_text(config.read_text().replace("epochs = 1", "epochs = 2"))
    assert "runs of different epochs: 1 | 2" in refused(call, capsys, "rainforth2018", "table", runs)
    config.write_text(config.read_text().replace("epochs = 2", "epochs = 1"))
    shutil.copytree(other, runs / "again")  # the same run once more, and not another seed
    call("rainforth2018", "table", "--runs", str(runs))


def test_snr_from_other_draws_or_points_is_another(runs):
    run = RunDir(next(runs.glob("digits-miwae-*")))
    first = inference_snr(run, 8, 3)
    for draws, points in ((9, 3), (8, 2)):
        other = inference_snr(run, draws, points)
        assert set(other.draws) == {8 * draws}  # of units, M = 8 to an estimate
        assert set(other["data"]) == {f"digits:test[0:{points}] dynamic seed 0"}
    assert set(first.draws) == {64}


def test_orders_of_those_that_there_are(call, runs, tmp_path):
    for path in runs.iterdir():
        if path.name.split("-")[1] not in ("vae", "iwae"):
            shutil.rmtree(path)
    call("rainforth2018", "orders", "--runs", str(runs))
    found = pd.read_csv(tmp_path / "results" / "runs" / "orders.csv")
    assert found.metric.tolist() == ["log_p", "active_units"]


def refused(call, capsys, folder, section, runs):
    with pytest.raises(SystemExit) as stopped:
        call(folder, section, "--runs", str(runs))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_the_grid_of_a_sweep_is_refused_in_a_line(capsys, tmp_path):
    grid = TINY.parents[2] / "analyses" / "mcharrak2021" / "full.toml"
    with pytest.raises(SystemExit) as stopped:
        mcharrak2021.ANALYSIS.main(["updates", "--settings", str(grid), "--out", str(tmp_path)])
    assert stopped.value.code == 2
    assert "no [base] table" in capsys.readouterr().err


def test_mcharrak(call, tmp_path):
    call("mcharrak2021")
    assert set(table(tmp_path, "parameters").iloc[:, -1]) == {"equal"}
    assert table(tmp_path, "parameters").ours.tolist() == [217_300, 207_984, 425_284, 490_440, 483_184, 973_624]
    beta = table(tmp_path, "learnt_beta").set_index(["way", "start"])["beta after each epoch"].astype(float)
    assert beta["fixed"].to_dict() == {0.1: 0.1, 0.9: 0.9}
    np.testing.assert_allclose(beta["free"], [0.098, 0.898], atol=1e-3)  # two steps of 1e-3
    assert len(table(tmp_path, "objectives")) == 5
    assert len(table(tmp_path, "updates")) == 6
    assert len(table(tmp_path, "beta_curve")) == 9
    assert table(tmp_path, "ssim")["evaluated on"].unique().tolist() == ["digits:test[0:5] dynamic seed 0"]
    evaluation = table(tmp_path, "evaluation")
    # 64 batches are more than the 9 points: the whole, whatever the shuffle.
    assert float(evaluation["sd over shuffles"].iloc[-1]) == pytest.approx(0, abs=1e-9)


def test_the_faulty_bound_spreads_with_the_images_it_keeps():
    values = np.random.default_rng(0).standard_normal(4000)
    for batches in (1, 4, 16):
        spread = faulty(values, batches, 20, 2000).std(ddof=1)
        kept = 20 * batches
        exact = values.std(ddof=1) / np.sqrt(kept) * np.sqrt(1 - kept / 4000)
        assert abs(spread - exact) < 4 * exact / np.sqrt(2 * 2000)


def test_ciwae_with_one_sample_is_a_vae_whatever_beta():
    """What the released code trains: its two parts are ELBOs of one sample each."""
    from snrkit.estimators.base import build_estimator

    log_w = torch.linspace(-3, 2, 12, dtype=torch.float64).reshape(3, 4, 1)
    for beta in (0.0, 0.3, 1.0):
        torch.testing.assert_close(
            build_estimator("ciwae", {"beta": beta}).bound(log_w), build_estimator("vae", {}).bound(log_w)
        )
