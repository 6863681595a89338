"""``snrkit train`` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.trainer import Trainer
from tests.support.program import TOY

DRIVER = "from snrkit.cli.main import main; main()"


def spec_of(folder):
    return RunSpec.from_toml((folder / "config.toml").read_text(), "config.toml")


def test_a_run_from_flags(snrkit, tmp_path):
    out = tmp_path / "run"
    result = snrkit("train", *TOY, "--epochs", 2, "--lr", 0.01, "--seed", 3, "--out", out)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"{out}/run.pt: 2 epochs, 10 steps, bound -")
    spec = spec_of(out)
    assert (spec.estimator.M, spec.estimator.K, spec.optimiser.lr, spec.seed) == (2, 4, 0.01, 3)
    assert spec == load_checkpoint(out).run_spec()


def test_config_then_flags_then_set(snrkit, tmp_path):
    (tmp_path / "my.toml").write_text('epochs = 9\nseed = 9\nbatch_size = 9\n[estimator]\nname = "vae"\nM = 3\nK = 3\n')
    snrkit(
        "train", "--config", tmp_path / "my.toml", "--data", "gaussian", "--model", "gaussian", "--epochs", 1, "--seed", 1,
        "--K", 5, "--set", "seed=2", "--set", "data.size=23", "--set", "data.dim=3", "--out", tmp_path / "run",
    )  # fmt: skip
    spec = spec_of(tmp_path / "run")
    assert (spec.batch_size, spec.epochs, spec.seed) == (9, 1, 2)
    assert (spec.estimator.name, spec.estimator.M, spec.estimator.K) == ("vae", 3, 5)


def test_the_written_config_makes_the_same_run(snrkit, tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    snrkit("train", *TOY, "--estimator", "ciwae", "--option", "beta=0.25", "--epochs", 1, "--out", first)
    snrkit("train", "--config", first / "config.toml", "--device", "cpu", "--out", second)
    assert spec_of(first) == spec_of(second)
    assert spec_of(first).estimator.options == {"beta": 0.25}
    a, b = load_checkpoint(first), load_checkpoint(second)
    assert all(torch.equal(a.model[name], b.model[name]) for name in a.model)


def test_the_default_directory_is_named_by_the_settings(snrkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        assert snrkit("train", *TOY, "--epochs", 0, "--seed", seed).code == 0
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert len(names) == 2
    assert all(name.startswith("gaussian-iwae-") for name in names)


def test_json_is_one_object(snrkit, tmp_path):
    result = snrkit("train", *TOY, "--epochs", 2, "--json", "--out", tmp_path / "run")
    found = json.loads(result.out)
    assert (found["epoch"], found["step"], found["last"]["epoch"]) == (2, 10, 2)
    assert result.err == ""


def test_quiet(snrkit, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    loud = snrkit("train", *TOY, "--epochs", 1, "--out", tmp_path / "a")
    quiet = snrkit("train", *TOY, "--epochs", 1, "--out", tmp_path / "b", "--quiet")
    assert loud.err != ""
    assert quiet.err == ""
    assert quiet.code == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--estimator", "iwea"], ["unknown estimator", "did you mean 'iwae'"]),
        (["--model", "gausian"], ["unknown model", "did you mean 'gaussian'"]),
        (["--data", "minst"], ["unknown data", "did you mean 'mnist'"]),
        (["--K", "0"], ["--K", "at least 1"]),
        (["--K", "1,x"], ["--K"]),
        (["--M", "-1"], ["--M"]),
        (["--epochs", "-1"], ["epochs"]),
        (["--lr", "nan"], ["--lr"]),
        (["--dtype", "half"], ["dtype"]),
        (["--schedule", "cosine"], ["--schedule", "'burda'"]),
        (["--seed", str(2**63)], ["seed"]),
        (["--set", "checkpoint_every=0"], ["checkpoint_every", "greater than or equal to 1"]),
        (["--set", "optimiser.schedule=cosine"], ["optimiser.schedule"]),
        (["--set", "epochs"], ["--set", "key=value"]),
        (["--set", "epoch=3"], ["epoch", "no such setting"]),
        (["--set", "epochs=many"], ["epochs", "valid integer"]),
        (["--set", "model.options.latent=3"], ["latent"]),
        (["--set", "data.train_limit=24"], ["data.train_limit", "23"]),
        (["--option", "nonsense=1"], ["nonsense", "no such option"]),
        (["--option", "beta"], ["--option", "NAME=NUMBER"]),
        (["--estimator", "ciwae", "--option", "beta=1.5"], ["beta", "[0, 1]", "1.5"]),
        (["--estimator", "ciwae", "--option", "beta=-0.1"], ["beta"]),
        (["--estimator", "ciwae", "--option", "beta=nan"], ["beta"]),
        (["--config", "none.toml"], ["none.toml", "cannot be read"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input(snrkit, tmp_path, argv, words):
    snrkit("train", *TOY, "--out", tmp_path / "run", *argv).refused(*words)
    assert not (tmp_path / "run").exists()


def test_a_config_that_is_no_toml(snrkit, tmp_path):
    (tmp_path / "bad.toml").write_text("epochs = \n")
    snrkit("train", "--config", tmp_path / "bad.toml").refused("bad.toml", "not valid TOML")


def test_a_config_with_an_unknown_setting_is_named(snrkit, tmp_path):
    (tmp_path / "bad.toml").write_text("[estimator]\nk = 3\n")
    snrkit("train", "--config", tmp_path / "bad.toml").refused("estimator.k", "bad.toml")


def test_pixels_that_are_nan(snrkit, tmp_path):
    x = np.zeros((5, 9))
    x[3, 2] = np.nan
    np.savez(tmp_path / "x.npz", x_train=x, x_test=np.zeros((3, 9)))
    snrkit(
        "train", "--data", "npz", "--set", f"data.path={tmp_path / 'x.npz'}", "--out", tmp_path / "run"
    ).refused("x_train holds 1 NaN")  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_out_below_a_file_and_out_a_file(snrkit, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file" / "run", tmp_path / "file"):
        snrkit("train", *TOY, "--epochs", 1, "--out", out).refused("cannot be written", "--out")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_existing_run_is_not_touched(snrkit, toy_run, contents):
    before = contents(toy_run)
    snrkit("train", *TOY, "--epochs", 1, "--out", toy_run).refused("holds a run already", "--resume")
    assert contents(toy_run) == before


def test_resume_takes_the_runs_own_settings(snrkit, tmp_path):
    snrkit("train", *TOY, "--epochs", 4, "--out", tmp_path / "whole")
    snrkit("train", *TOY, "--epochs", 2, "--out", tmp_path / "parts")
    assert snrkit("train", "--resume", "--epochs", 4, "--device", "cpu", "--out", tmp_path / "parts").code == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "parts")
    assert spec_of(tmp_path / "parts").epochs == 4


def assert_equal_runs(a, b):
    one, two = load_checkpoint(a), load_checkpoint(b)
    assert (one.epoch, one.step, one.position) == (two.epoch, two.step, two.position)
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    for x, y in zip(one.optimiser["state"].values(), two.optimiser["state"].values(), strict=True):
        assert all(torch.equal(x[name], y[name]) for name in x)
    timing = {"seconds", "images_per_second"}
    rows = [[{k: v for k, v in row.items() if k not in timing} for row in RunDir(p).read_metrics()] for p in (a, b)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == one.epoch


def test_resume_of_a_finished_run_changes_nothing(snrkit, tmp_path, contents):
    snrkit("train", *TOY, "--epochs", 1, "--out", tmp_path / "run")
    before = contents(tmp_path / "run")
    for argv in (["--out", tmp_path / "run"], [*TOY, "--epochs", 1, "--out", tmp_path / "run"]):
        result = snrkit("train", "--resume", *argv)
        assert (result.code, "1 epochs, 5 steps" in result.out) == (0, True)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("argv", "setting"),
    [(["--K", 3], "--K"), (["--set", "optimiser.lr=1"], "optimiser.lr"), (["--set", "data.dim=4"], "data.dim")],
)
def test_resume_with_other_settings(snrkit, tmp_path, contents, argv, setting):
    snrkit("train", *TOY, "--epochs", 1, "--out", tmp_path / "run")
    before = contents(tmp_path / "run")
    snrkit("train", "--resume", "--epochs", 2, *argv, "--out", tmp_path / "run").refused(setting)
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("damage", [b"", b"junk", None], ids=["empty", "junk", "truncated"])
def test_resume_from_a_damaged_checkpoint(snrkit, tmp_path, contents, damage):
    snrkit("train", *TOY, "--epochs", 1, "--out", tmp_path / "run")
    file = tmp_path / "run" / "run.pt"
    file.write_bytes(file.read_bytes()[:900] if damage is None else damage)
    before = contents(tmp_path / "run")
    snrkit("train", "--resume", "--epochs", 2, "--out", tmp_path / "run").refused("run.pt")
    assert contents(tmp_path / "run") == before


def test_a_bound_that_blows_up(snrkit, tmp_path):
    result = snrkit("train", *TOY, "--epochs", 2, "--lr", "1e30", "--out", tmp_path / "run")
    result.refused("at step 1", "--lr", "float64", "the last checkpoint is kept", code=3)
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "failed"
    assert load_checkpoint(tmp_path / "run").step == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_exits_130_with_the_state_saved(snrkit, tmp_path, monkeypatch, number):
    report = Trainer.report

    def and_kill(self, *args):
        if self.step == 8:
            os.kill(os.getpid(), number)
        report(self, *args)

    snrkit("train", *TOY, "--epochs", 4, "--out", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "report", and_kill)
        result = snrkit("train", *TOY, "--epochs", 4, "--out", tmp_path / "run")
    assert (result.code, result.out) == (130, "")
    assert f"snrkit train --resume --out {tmp_path / 'run'}" in result.err
    saved = load_checkpoint(tmp_path / "run")
    assert (saved.epoch, saved.step, saved.position) == (1, 8, 3)
    assert snrkit("train", "--resume", "--out", tmp_path / "run").code == 0
    assert_equal_runs(tmp_path / "whole", tmp_path / "run")


# Long enough to be hit: 701 steps an epoch, some 700 ms.
LONG = [*TOY, "--set", "data.size=701", "--batch-size", 1, "--epochs", 3, "--checkpoint-every", 1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    from snrkit.cli.main import main

    out = tmp_path_factory.mktemp("long") / "run"
    main([str(arg) for arg in ["train", *LONG, "--quiet", "--out", out]])
    return out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_stopped_goes_on_bit_for_bit(snrkit, tmp_path, undisturbed, number):
    out = tmp_path / "run"
    argv = [sys.executable, "-c", DRIVER, *map(str, ["train", *LONG, "--out", out])]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # One epoch is done and the second has begun.
    while not RunDir(out).read_metrics() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    saved = load_checkpoint(out)
    assert stdout == ""
    assert "Traceback" not in stderr
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert RunDir(out).state() == "running"
    else:
        assert process.returncode == 130
        assert RunDir(out).state() == "interrupted"
        assert saved.position > 0
    assert saved.epoch < 3
    assert snrkit("train", "--resume", "--out", out, "--quiet").code == 0
    assert_equal_runs(undisturbed, out)
    assert RunDir(out).state() == "done"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--snr-K", "1,2"], ["--snr-K", "nothing is measured", "--snr-every"]),
        (["--snr-points", 10], ["--snr-points", "nothing is measured"]),
        (["--data", "digits", "--model", "mlp"], ["data.size", "does nothing to digits"]),
        (["--data", "digits", "--model", "mlp", "--set", "data.size=1024"], ["data.dim", "does nothing to digits"]),
    ],
)
def test_settings_without_effect_are_refused(snrkit, tmp_path, argv, words):
    snrkit("train", *TOY, *argv, "--epochs", 1, "--out", tmp_path / "run").refused(*words)
    assert list(tmp_path.iterdir()) == []


def test_measuring_later_than_the_last_epoch_is_refused_before_training(snrkit, tmp_path):
    out = tmp_path / "run"
    snrkit("train", *TOY, "--epochs", 2, "--snr-every", 3, "--out", out).refused("every", "nothing would be measured")
    snrkit("train", *TOY, "--epochs", 0, "--set", "measure.K=3", "--out", out).refused("nothing would be measured")
    assert not (out / "run.pt").exists()


def test_that_a_finished_run_is_not_measured_is_said(snrkit, tmp_path):
    argv = ["train", *TOY, "--epochs", 1, "--out", tmp_path / "run"]
    assert "note" not in snrkit(*argv).err
    again = snrkit(*argv, "--resume", "--snr-every", 1, "--snr-draws", 4, "--snr-points", 1)
    assert again.code == 0
    assert "was finished before, so nothing was measured" in again.err


def test_a_file_that_says_nothing_of_measurements_is_refused(snrkit, tmp_path):
    assert snrkit("train", *TOY, "--epochs", 0, "--out", tmp_path / "run").code == 0
    argv = ["snr", "--ckpt", tmp_path / "run", "--config", tmp_path / "run" / "config.toml"]
    snrkit(*argv).refused("config.toml", "has no table [measure]")


def test_every_run_of_a_sweep_is_measured_or_none_is_trained(snrkit, tmp_path):
    (tmp_path / "grid.toml").write_text(
        'data = {name = "gaussian", size = 9, dim = 2}\nmodel = {name = "gaussian"}\n[measure]\nevery = 2\n'
        "[[runs]]\nepochs = 2\n[[runs]]\nepochs = 1\nseed = 1\n"
    )
    snrkit("sweep", tmp_path / "grid.toml", "--out", tmp_path / "runs").refused("every", "nothing would be measured")


def test_an_annealed_option_from_settings_one_by_one(snrkit, tmp_path):
    kl = ["--set", "estimator.options.kl.anneal=linear", "--set", "estimator.options.kl.until_epochs=1"]
    common = ["train", *TOY, "--estimator", "vae-annealed", *kl, "--set", "estimator.options.kl.start=0.5"]
    assert snrkit(*common, "--epochs", 2, "--out", tmp_path / "run").code == 0
    assert [row["kl"] for row in RunDir(tmp_path / "run").read_metrics()] == pytest.approx([0.9, 1.0])
    assert spec_of(tmp_path / "run").estimator.options["kl"].until == 5
    table = '{anneal="linear", start=0.5, until=5}'
    again = ["train", *TOY, "--estimator", "vae-annealed", "--set", f"estimator.options.kl={table}", "--print-config"]
    assert '[estimator.options.kl]\nanneal = "linear"\nstart = 0.5\nstop = 1.0\nuntil = 5\n' in snrkit(*again).out
    bad = snrkit(
        "train", *TOY, "--estimator", "vae-annealed", "--set", "estimator.options.kl.anneal=linear", "--out", tmp_path
    )
    bad.refused("estimator.options", "neither until nor until_epochs", "until=2000")
