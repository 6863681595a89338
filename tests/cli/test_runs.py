"""``snrkit runs`` as a user meets it."""

import json
import shutil
import subprocess
import sys

import pytest

from snrkit.cli import runs
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.run import RunSpec
from tests.support.tables import table

STATES = ["done", "done", "interrupted", "failed"]


@pytest.fixture
def many(tmp_path):
    """Four runs that differ in seed and K, one of them measured."""
    for seed, state in enumerate(STATES):
        run = RunDir(tmp_path / "grid" / f"run-{seed}")
        run.path.mkdir(parents=True)
        run.config.write_text(RunSpec(seed=seed, estimator={"K": 8 >> seed}, epochs=2).to_toml())
        run.append_metrics({"epoch": 2 - seed % 2, "step": 9, "bound": -float(seed) - 0.25})
        run.set_status(state, "no such thing" if state == "failed" else "", 3 if state == "failed" else 0)
    base = (
        table()
        .iloc[:1]
        .assign(metric="snr_mean", block="inference", estimator="iwae", M=1, K=8, value=0.5, stderr=0.01)
    )
    SNR.write(tmp_path / "grid" / "run-0" / "snr.parquet", base.assign(floor=0.02))
    SNR.write(tmp_path / "grid" / "run-1" / "snr.parquet", base.assign(value=0.01, floor=0.02))
    return tmp_path / "grid"


def names(result):
    return [
        line.split()[0] for line in result.out.splitlines() if line.startswith("run-") and ":" not in line.split()[0]
    ]


def test_a_line_for_each_run(snrkit, many):
    result = snrkit("runs", many)
    assert (result.code, result.err) == (0, "")
    head, first, second, *_, why, count = result.out.splitlines()
    assert head.split() == ["run", "state", "K", "seed", "epoch", "bound", "SNR", "±", "se", "age", "size"]
    assert first.split()[:8] == ["run-0", "done", "8", "0", "2/2", "-0.25", "0.5", "±"]
    assert "(0.01 ± 0.01) at 1,8" in second  # noise, and not at the run's own K
    assert why == "run-3: no such thing"
    assert count == "4 runs: 1 interrupted, 2 done, 1 diverged"


def test_runs_of_one_name_are_told_apart_by_where_they_lie(snrkit, many, tmp_path):
    shutil.copytree(many / "run-0", tmp_path / "other" / "run-0")
    told = [line.split()[0] for line in snrkit("runs", tmp_path).out.splitlines()[1:6]]
    assert told == [str(many / "run-0"), "run-1", "run-2", "run-3", str(tmp_path / "other" / "run-0")]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "0123"),
        (["--reverse"], "3210"),
        (["--sort", "K"], "3210"),
        (["--sort", "estimator.K"], "3210"),
        (["--sort", "bound"], "3210"),
        (["--sort", "snr"], "1023"),
        (["--sort", "state"], "2013"),
        (["--state", "done"], "01"),
        (["--state", "done", "--state", "diverged"], "013"),
        (["--state", "new"], ""),
    ],
)
def test_order_and_choice(snrkit, many, argv, expected):
    result = snrkit("runs", many, *argv)
    assert result.code == 0
    assert names(result) == [f"run-{number}" for number in expected]


def test_json(snrkit, many):
    told = json.loads(snrkit("runs", many, "--json").out)["runs"]
    assert [(run["state"], run["settings"]) for run in told][1] == ("done", {"estimator.K": 4, "seed": 1})
    assert told[0]["snr"]["value"] == 0.5
    assert told[2]["snr"] is None
    everything = json.loads(snrkit("runs", many, "--json", "--all-settings").out)["runs"]
    assert everything[0]["settings"]["optimiser.lr"] == 0.001


def test_bad_input(snrkit, many, tmp_path):
    snrkit("runs", many, "--sort", "bond").refused("--sort", "did you mean 'bound'")
    snrkit("runs", tmp_path / "none").refused("none", "is no folder")
    snrkit("runs", many, "--state", "finished").refused("--state")


def test_a_narrow_terminal_folds(snrkit, many, monkeypatch):
    monkeypatch.setattr(runs, "columns_on_stdout", lambda: 60)
    shown = snrkit("runs", many).out
    assert "K=8, seed=0" in shown
    assert "│" in shown


@pytest.mark.slow
def test_five_hundred_runs_take_under_two_seconds_and_no_torch(many):
    """Processor time, so that a busy machine passes too."""
    for number in range(496):
        shutil.copytree(many / "run-0", many / f"more-{number}")
    code = (
        "import sys, time\nfrom snrkit.cli.main import main\n"
        f"main(['runs', {str(many)!r}])\nprint(time.process_time(), 'torch' in sys.modules)"
    )
    taken = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, torch = done.stdout.splitlines()[-1].split()
        taken.append(float(seconds))
        assert torch == "False"
    assert min(taken) < 2
