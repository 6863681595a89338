"""What was frozen stays: names of runs, messages, numbers, and folders and tables of earlier versions.

``freeze.py`` beside this file compares everything, the committed figures too; here is what must hold wherever the tests run.
"""

import json
import shutil
import tomllib

import pandas as pd
import pytest

from snrkit.cli.main import main
from tests.golden import freeze

OLD = freeze.HERE / "old"
FROZEN = json.loads((freeze.HERE / "frozen.json").read_text())
RUNS = sorted(path.name for path in OLD.iterdir())


def test_runs_keep_their_names(tmp_path, monkeypatch):
    monkeypatch.chdir(freeze.ROOT)
    assert freeze.differences(FROZEN["identities"], freeze.identities(tmp_path)) == []


@pytest.mark.slow
def test_bad_input_is_told_in_the_same_words(tmp_path, monkeypatch):
    monkeypatch.chdir(freeze.ROOT)
    found = freeze.refused(tmp_path)
    assert all(code and err.count("\n") == 1 for code, _, err in found.values())
    assert freeze.differences(FROZEN["refused"], found) == []


@pytest.mark.slow
def test_numbers_are_equal_on_the_machine_they_were_frozen_on(tmp_path, monkeypatch):
    if FROZEN["machine"] != freeze.machine():
        pytest.skip(f"frozen on {FROZEN['machine']}")
    monkeypatch.chdir(freeze.ROOT)
    found = [line for line in freeze.differences(FROZEN["results"], freeze.results(tmp_path)) if line[:4] != "new:"]
    assert found == []


@pytest.fixture
def old(tmp_path):
    """A copy of the run folders that version 0.1.0 wrote."""
    return shutil.copytree(OLD, tmp_path / "old")


@pytest.mark.rest_slow
@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_is_measured_again(old, name, capsys):
    path = old / name / "snr.parquet"
    before = pd.read_parquet(path) if path.exists() else None
    main(
        ["snr", "--ckpt", str(old / name), "--K", "2", "--draws", "8", "--data-points", "2", "--seed", "77", "--quiet"]
    )
    main(["evaluate", "--ckpt", str(old / name), "--samples", "128", "--points", "3", "--quiet"])
    after = pd.read_parquet(path)
    capsys.readouterr()
    assert (after["seed"] == 77).any()
    if before is not None:
        again = after[after["seed"] != 77].reset_index(drop=True)
        pd.testing.assert_frame_equal(again[list(before)], before)


def test_an_old_run_goes_on(old, capsys):
    for name in RUNS:
        epochs = tomllib.loads((old / name / "config.toml").read_text())["epochs"]
        main(["train", "--resume", "--config", str(old / name / "config.toml"), "--epochs", str(epochs + 1), "--quiet",
              "--device", "cpu", "--out", str(old / name)])  # fmt: skip
        assert f"{epochs + 1} epochs" in capsys.readouterr().out


@pytest.mark.slow
def test_old_folders_are_reported(old, tmp_path, capsys):
    main(["report", str(old), "--out", str(tmp_path / "report"), "--quiet", "--html"])
    capsys.readouterr()
    drawn = {path.stem for path in (tmp_path / "report").glob("*.svg")}
    assert {"training", "snr_vs_k", "learned_beta", "histograms", "frontier"} <= drawn
