"""``snrkit sweep`` as a user meets it."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from snrkit.cli import sweep
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in
from snrkit.training.trainer import Trainer
from tests.support.training import everything

DRIVER = "from snrkit.cli.main import main; main()"
GRID = """
epochs = 3
batch_size = 5
checkpoint_every = 1
eval_points = 7
data = {name = "digits", train_limit = 23}
model = {name = "mlp", options = {hidden = [7], latent = 3}}
[grid]
seed = [0, 1]
[[runs]]
estimator = {name = "vae", M = 8, K = 1}
[[runs]]
estimator = {name = "miwae", M = 2, K = 4}
"""


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def runs_in(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir())


def test_a_grid(snrkit, grid, tmp_path):
    result = snrkit("sweep", grid, "--out", tmp_path / "out", "--device", "cpu")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("4 done\n")
    assert [path.name.rsplit("-", 1)[0] for path in runs_in(tmp_path / "out")] == [
        f"digits-{estimator}-seed{seed}" for estimator in ("miwae-M2-K4", "vae-M8-K1") for seed in (0, 1)
    ]
    assert all(RunDir(path).state() == "done" for path in runs_in(tmp_path / "out"))


def test_a_run_of_a_sweep_is_a_run_of_train(snrkit, grid, tmp_path):
    snrkit("sweep", grid, "--out", tmp_path / "out", "--ensemble", 1, "--device", "cpu")
    run = runs_in(tmp_path / "out")[0]
    snrkit("train", "--config", run / "config.toml", "--out", tmp_path / "alone" / run.name, "--device", "cpu")
    assert everything(tmp_path / "alone")[run.name] == everything(tmp_path / "out")[run.name]


def test_a_dry_run_makes_nothing_and_says_what_would_be_done(snrkit, grid, tmp_path):
    argv = ["sweep", grid, "--out", tmp_path / "out", "--device", "cpu"]
    result = snrkit(*argv, "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert result.out.endswith("4 waiting\n")
    assert not (tmp_path / "out").exists()
    assert snrkit(*argv, "--shard", "1/2").out.endswith("part 1/2: 2 done\n")
    with alone_in(tmp_path / "out" / json.loads(snrkit(*argv, "--dry-run", "--json").out)["runs"][1]["run"]):
        runs = json.loads(snrkit(*argv, "--dry-run", "--json").out)["runs"]
        assert sorted(run["state"] for run in runs) == ["done", "done", "held", "waiting"]
        held = snrkit(*argv, "--json")
    states = {run["state"]: run["code"] for run in json.loads(held.out)["runs"]}
    assert (held.code, states) == (4, {"done": 0, "held": 4})
    assert snrkit(*argv, "--dry-run").out.endswith("3 done, 1 waiting\n")


def test_a_shard_of_which_nothing_is_left_is_no_failure(snrkit, grid, tmp_path):
    argv = ["sweep", grid, "--out", tmp_path / "out", "--device", "cpu", "--ensemble", 4]
    result = snrkit(*argv, "--shard", "2/3")
    assert result.code == 0
    assert "no run" in result.out
    assert not (tmp_path / "out").exists()


def test_json_and_quiet(snrkit, grid, tmp_path):
    result = snrkit("sweep", grid, "--out", tmp_path / "out", "--json", "--quiet", "--set", "epochs=1")
    assert (result.code, result.err) == (0, "")
    runs = json.loads(result.out)["runs"]
    assert [(run["state"], run["epoch"], run["epochs"]) for run in runs] == [("done", 1, 1)] * 4


def test_what_is_finished_is_exported(snrkit, grid, tmp_path):
    argv = ["sweep", grid, "--out", tmp_path / "out", "--export", tmp_path / "small"]
    assert snrkit(*argv, "--set", "grid.seed=[1]", "--set", "epochs=1").code == 0
    names = [path.name for path in runs_in(tmp_path / "small")]
    assert names == [path.name for path in runs_in(tmp_path / "out")]
    assert len(names) == 2
    copy = tmp_path / "small" / names[0]
    assert snrkit("evaluate", "--ckpt", copy, "--samples", 128, "--points", 3, "--device", "cpu").code == 0


def test_the_default_folder_is_named_by_the_file(snrkit, grid, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snrkit("sweep", grid, "--set", "epochs=0")
    assert len(runs_in(tmp_path / "checkpoints" / "grid")) == 4


def test_a_time_limit_saves_and_exits_0(snrkit, grid, tmp_path, monkeypatch):
    snrkit("sweep", grid, "--out", tmp_path / "whole", "--ensemble", 4)
    clock = iter(range(1000))
    with monkeypatch.context() as patch:
        patch.setattr(sweep.time, "monotonic", lambda: next(clock))
        result = snrkit("sweep", grid, "--out", tmp_path / "parts", "--ensemble", 4, "--time-limit", "9s", "--quiet")
    assert (result.code, "4 interrupted" in result.out) == (0, True)
    last = result.out.splitlines()[-1]
    begun, until, more = re.fullmatch(
        r"next: 4 runs from epoch ([\d.]+) to about ([\d.]+), and (\d+) such slices of 9 s to the end of all", last
    ).groups()
    assert 0 < float(begun) < float(until) <= 3
    assert int(more) == math.ceil((3 - float(begun)) / float(begun))
    again = snrkit("sweep", grid, "--out", tmp_path / "parts", "--ensemble", 4, "--time-limit", "1h")
    assert again.out.endswith("4 done\n")
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


@pytest.mark.rest_slow
@pytest.mark.parametrize("size", [1, 4])
def test_ctrl_c_saves_and_exits_130(snrkit, grid, tmp_path, monkeypatch, size):
    account = Trainer.account

    def and_interrupt(self, *args):
        account(self, *args)
        if (self.spec.seed, self.step) == (1, 3):
            os.kill(os.getpid(), signal.SIGINT)

    snrkit("sweep", grid, "--out", tmp_path / "whole", "--ensemble", size)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "account", and_interrupt)
        # Two members reach that step at once; the second signal would end the program at once.
        patch.setattr(sys.modules["os"], "kill", _once(os.kill))
        result = snrkit("sweep", grid, "--out", tmp_path / "parts", "--ensemble", size)
    assert result.code == 130
    assert "the same command goes on" in result.err
    assert "interrupted" in result.out
    assert snrkit("sweep", grid, "--out", tmp_path / "parts", "--ensemble", size).code == 0
    assert everything(tmp_path / "parts") == everything(tmp_path / "whole")


def _once(act):
    done = []
    return lambda *args: done or (done.append(1), act(*args))


def test_a_run_that_diverged_exits_3_and_the_rest_is_done(snrkit, grid, tmp_path):
    grid.write_text(GRID.replace("K = 4}", "K = 4}\noptimiser = {lr = 1e30}"))
    result = snrkit("sweep", grid, "--out", tmp_path / "out", "--ensemble", 4, "--json")
    assert result.code == 3
    runs = json.loads(result.out)["runs"]
    assert [run["state"] for run in runs] == ["done", "failed"] * 2
    assert all("optimiser.lr" in run["why"] for run in runs if run["state"] == "failed")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--set", "epoch=3"], ["epoch", "no such setting", "grid.toml"]),
        (["--time-limit", "9"], ["'9' is not a time", "9m"]),
        (["--time-limit", "m"], ["not a time"]),
        (["--ensemble", "0"], ["--ensemble"]),
        (["--device", "cuda:99"], ["--device"]),
        (["--shard", "0/8"], ["--shard", "no part 0 of 8", "they count from 1", "--array=1-8"]),
        (["--shard", "9/8"], ["no part 9 of 8"]),
        (["--shard", "0/0"], ["at least one part"]),
        (["--shard", "3"], ["'3' is not I/N", "1/8"]),
        (["--shard", "1/x"], ["not I/N"]),
        (["--shard", "-1/8"], ["not I/N"]),
        (["--set", "data.name=digit"], ["did you mean 'digits'"]),
    ],
    ids=" ".join,
)
def test_bad_input(snrkit, grid, tmp_path, argv, words):
    snrkit("sweep", grid, "--out", tmp_path / "out", *argv).refused(*words)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("9m", 540), ("1.5h", 5400), ("0s", 0)])
def test_durations(text, seconds):
    assert sweep.Duration().convert(text, None, None) == seconds


def test_no_such_grid(snrkit, tmp_path):
    snrkit("sweep", tmp_path / "none.toml").refused("none.toml", "cannot be read")


def test_a_line_at_intervals_where_there_is_no_terminal(snrkit, grid, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "PLAIN_INTERVAL_S", 0.0)
    lines = snrkit("sweep", grid, "--out", tmp_path / "out").err.splitlines()
    # After every step, and at the end of every run.
    assert len(lines) == 4 * (3 * 5 + 1)
    assert lines[0].startswith("sweep: 1 running, 3 waiting, ETA ")
    assert "3 done, 1 running" in lines[-1]


def test_a_table_in_place_on_a_terminal(snrkit, grid, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = snrkit("sweep", grid, "--out", tmp_path / "out").err
    assert "running" in shown or "done" in shown


@pytest.mark.slow
def test_killed_twice(snrkit, tmp_path):
    """With a real SIGKILL, and no warning."""
    grid = tmp_path / "grid.toml"
    grid.write_text(GRID.replace("epochs = 3", "epochs = 12").replace("every = 1", "every = 3"))
    argv = ["sweep", grid, "--ensemble", 4, "--device", "cpu", "--quiet", "--out"]
    snrkit(*argv, tmp_path / "whole")
    out = tmp_path / "parts"
    for epochs in (1, 5):
        process = subprocess.Popen([sys.executable, "-c", DRIVER, *map(str, argv), str(out)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while _epochs(out) < epochs and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.002)
        process.kill()
        assert process.wait(timeout=300) == -signal.SIGKILL
        assert epochs <= _epochs(out) < 12
    assert snrkit(*argv, out).code == 0
    assert everything(out) == everything(tmp_path / "whole")


def _epochs(out):
    return min((len(RunDir(path).read_metrics()) for path in out.glob("digits-*")), default=0)


TOYS = """
epochs = 1
eval_points = 3
data = {name = "gaussian", size = 9, dim = 2}
model = {name = "gaussian"}
[[runs]]
optimiser = {lr = 1e30}
[[runs]]
seed = 1
"""


@pytest.mark.parametrize(
    ("more", "code"),
    [("", 3), ('[[runs]]\nmodel = {options = {purturb = 1}}\n', 1)],
    ids=["one way", "two ways"],
)  # fmt: skip
def test_the_code_of_failed_runs(snrkit, tmp_path, more, code):
    (tmp_path / "grid.toml").write_text(TOYS + more)
    argv = ["sweep", tmp_path / "grid.toml", "--out", tmp_path / "out", "--device", "cpu", "--quiet", "--json"]
    for _ in range(2):  # at once, and from what the first call recorded
        result = snrkit(*argv)
        assert result.code == code
        codes = {run["state"]: run["code"] for run in json.loads(result.out)["runs"][:2]}
        assert codes == {"failed": 3, "done": 0}
