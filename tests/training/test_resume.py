"""A run that was stopped and resumed is bit for bit the run that was not."""

import os
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from snrkit.errors import CheckpointError, DataError, OutputError, ResourceError, ResultsError, SpecError
from snrkit.files import read_json, write_json
from snrkit.interrupt import Interrupted
from snrkit.run import Run
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in
from snrkit.training.trainer import Trainer

DIGITS = {
    "data": {"name": "digits", "train_limit": 23},
    "model": {"name": "mlp", "options": {"hidden": [7], "latent": 3}},
    "estimator": {"name": "piwae", "M": 2, "K": 4},
    "optimiser": {"schedule": "burda", "lr": 0.01},
}


def leaves(value):
    """All tensors and numbers in a nested state."""
    if isinstance(value, dict):
        return [leaf for key in sorted(value, key=str) for leaf in leaves(value[key])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def same(a, b):
    """Whether two checkpoints hold the same training state, to the last bit."""
    assert (a.epoch, a.step, a.position) == (b.epoch, b.step, b.position)
    pairs = list(zip(leaves([a.model, a.optimiser]), leaves([b.model, b.optimiser]), strict=True))
    assert sum(isinstance(x, torch.Tensor) for x, _ in pairs) > 6
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)


def rows(folder):
    timing = {"seconds", "images_per_second"}
    return [{k: v for k, v in row.items() if k not in timing} for row in RunDir(folder).read_metrics()]


def contents(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def at_step(step, action):
    """A progress callback that acts after so many steps of this process."""
    seen = 0

    def progress(done, total, note):
        nonlocal seen
        seen += 1
        if seen == step:
            action()

    return progress


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("changes", [{}, DIGITS, DIGITS | {"dtype": "float64"}], ids=["gaussian", "mlp", "mlp64"])
def test_two_epochs_and_two_more_are_four(small, go, tmp_path, changes):
    whole = go(small(**changes), "whole")
    half = go(small(**changes, epochs=2), "parts")
    assert not same_model(whole, half)
    parts = go(small(**changes), "parts", resume=True)
    assert same(whole, parts)
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert [row["epoch"] for row in rows(tmp_path / "parts")] == [1, 2, 3, 4]


def same_model(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.model.values(), b.model.values(), strict=True))


# 5 steps to an epoch: its first, a middle and its last step, and the very last of the run.
@pytest.mark.parametrize("step", [1, 8, 10, 20])
def test_interrupted_within_an_epoch(small, go, tmp_path, step):
    whole = go(small(), "whole")
    with pytest.raises(Interrupted):
        go(small(), "parts", progress=at_step(step, interrupt))
    assert RunDir(tmp_path / "parts").state() == "interrupted"
    assert len(rows(tmp_path / "parts")) == (step - 1) // 5
    assert same(whole, go(small(), "parts", resume=True))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")
    assert RunDir(tmp_path / "parts").state() == "done"


def test_what_killed_writes_left_is_deleted_when_the_run_goes_on(small, go, tmp_path):
    go(small(epochs=1))
    run = RunDir(tmp_path / "run")
    left = [run.path / f".{name}.x1.tmp{Path(name).suffix}" for name in ("run.pt", "metrics.jsonl", "status.json")]
    kept = run.path / ".snr.parquet.x1.tmp.parquet"  # a measurement may be writing it
    for path in [*left, kept]:
        path.touch()
    go(small(epochs=2), resume=True)
    assert not any(path.exists() for path in left)
    assert kept.exists()


def test_what_each_session_ran_on_is_noted(small, go, tmp_path):
    for epochs in (1, 2, 3):
        go(small(epochs=epochs), resume=True)
    env = read_json(RunDir(tmp_path / "run").env)
    first = {name: value for name, value in env.items() if name != "resumed"}
    assert env["resumed"] == [first, first]


def test_interrupted_again_and_again(small, go, tmp_path):
    whole = go(small(), "whole")
    for step in (3, 1, 4):
        with pytest.raises(Interrupted):
            go(small(), "parts", resume=True, progress=at_step(step, interrupt))
    assert same(whole, go(small(), "parts", resume=True))
    assert rows(tmp_path / "whole") == rows(tmp_path / "parts")


def test_a_crash_goes_on_from_the_last_checkpoint(small, go, tmp_path):
    def crash():
        raise ZeroDivisionError

    whole = go(small(), "whole")
    with pytest.raises(ZeroDivisionError):
        go(small(checkpoint_every=2), "parts", progress=at_step(17, crash))
    run = RunDir(tmp_path / "parts")
    assert run.state() == "failed"
    # Epoch 3 is in the metrics but in no checkpoint: it is trained and noted again, once.
    assert len(rows(run.path)) == 3
    with run.metrics.open("a") as stream:
        stream.write('{"epoch": 4, "cut sho')
    assert same(whole, go(small(), "parts", resume=True))
    assert rows(tmp_path / "whole") == rows(run.path)


def test_the_handlers_of_signals_are_put_back(small, go):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    go(small(epochs=1))
    with pytest.raises(Interrupted):
        go(small(), "other", progress=at_step(1, interrupt))
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


def test_trains_in_a_thread_too(small, go, tmp_path):
    thread = threading.Thread(target=go, args=(small(epochs=1),))
    thread.start()
    thread.join()
    assert RunDir(tmp_path / "run").state() == "done"


def test_a_finished_run_is_left_alone(small, go, tmp_path):
    first = go(small())
    before = contents(tmp_path / "run")
    assert same(first, go(small(), resume=True))
    assert contents(tmp_path / "run") == before


def test_a_run_killed_between_its_last_checkpoint_and_its_status(small, go, tmp_path):
    go(small())
    run = RunDir(tmp_path / "run")
    run.set_status("running")
    go(small(), resume=True)
    assert run.state() == "done"


def test_without_resume_a_run_is_not_touched(small, go, tmp_path):
    go(small(epochs=1))
    before = contents(tmp_path / "run")
    with pytest.raises(OutputError, match="`resume=True`"):
        go(small(seed=5))
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("setting", "changes"),
    [
        ("seed", {"seed": 1}),
        ("batch_size", {"batch_size": 6}),
        ("estimator.K", {"estimator": {"name": "iwae", "M": 2, "K": 3}}),
        ("estimator.options.beta", {"estimator": {"name": "iwae", "M": 2, "K": 4, "options": {"beta": 0.3}}}),
        ("estimator.name", {"estimator": {"name": "miwae", "M": 2, "K": 4}}),
        ("model.options.perturb", {"model": {"name": "gaussian"}}),
        ("optimiser.lr", {"optimiser": {"lr": 0.5}}),
        ("data.size", {"data": {"name": "gaussian", "size": 24, "dim": 3}}),
        ("dtype", {"dtype": "float64"}),
        ("eval_points", {"eval_points": 8}),
    ],
)
def test_contradicting_settings_are_named_and_change_nothing(small, go, tmp_path, setting, changes):
    go(small(epochs=1))
    before = contents(tmp_path / "run")
    with pytest.raises(SpecError) as caught:
        go(small(**changes), resume=True)
    assert caught.value.argument == setting
    assert contents(tmp_path / "run") == before


@pytest.mark.parametrize("done", [3, 2], ids=["past", "begun"])
def test_fewer_epochs_than_there_are(small, go, done):
    if done == 3:
        go(small(epochs=3))
    else:
        with pytest.raises(Interrupted):
            go(small(), progress=at_step(12, interrupt))
    with pytest.raises(CheckpointError, match="give `epochs=3` or more"):
        go(small(epochs=2), resume=True)


GREY = np.random.default_rng(0).integers(0, 255, (23, 9), dtype=np.uint8)
OTHER = {
    "values": np.random.default_rng(1).integers(0, 255, (23, 9), dtype=np.uint8),
    "size": np.random.default_rng(1).integers(0, 255, (23, 16), dtype=np.uint8),
    "order": GREY[::-1],
    "test": GREY,
}


@pytest.mark.parametrize("change", OTHER)
def test_data_that_changed_meanwhile(small, go, tmp_path, change):
    file = tmp_path / "mine.npz"
    np.savez(file, x_train=GREY, x_test=GREY[:7])
    changes = DIGITS | {"data": {"name": "npz", "path": str(file)}}
    go(small(**changes, epochs=1))
    before = contents(tmp_path / "run")
    other = OTHER[change]
    np.savez(file, x_train=other, x_test=other[7:14] if change == "test" else other[:7])
    with pytest.raises(DataError, match="not those that the run began with"):
        go(small(**changes), resume=True)
    with pytest.raises(DataError, match=r"not those that the run began with|has points of 16"):
        Run.open(tmp_path / "run", device="cpu")
    assert contents(tmp_path / "run") == before


def test_data_are_found_from_any_directory_and_may_move(small, go, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", x_train=GREY, x_test=GREY[:7])
    changes = DIGITS | {"data": {"name": "npz", "path": "mine.npz"}}
    go(small(**changes, epochs=1))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert Run.open(tmp_path / "run", device="cpu").step == 5
    (tmp_path / "mine.npz").rename("moved.npz")
    assert go(small(**DIGITS | {"data": {"name": "npz", "path": "moved.npz"}}), resume=True).epoch == 4


def test_a_checkpoint_from_before_the_data_were_noted_goes_on(small, go, tmp_path):
    go(small(epochs=1))
    file = RunDir(tmp_path / "run").checkpoint
    content = torch.load(file, weights_only=True)
    del content["data_digest"]
    torch.save(content, file)
    assert go(small(epochs=2), resume=True).epoch == 2


def test_resume_of_nothing_starts(small, go, tmp_path):
    assert go(small(epochs=1), resume=True).epoch == 1


def test_the_order_of_points_and_the_noise_change_from_epoch_to_epoch(small, go, monkeypatch):
    seen = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda self, x: (seen.append(x), step(self, x))[1])
    go(small(epochs=2))
    first, second = torch.cat(seen[:5]), torch.cat(seen[5:])
    assert [len(x) for x in seen] == [5, 5, 5, 5, 3] * 2
    assert torch.equal(first.sort(0).values, second.sort(0).values)
    assert not torch.equal(first, second)


def test_one_process_at_a_time(small, go, tmp_path):
    go(small(epochs=1))
    before = contents(tmp_path / "run")
    with alone_in(tmp_path / "run"), pytest.raises(ResourceError, match="another process is at work"):
        go(small(), resume=True)
    assert contents(tmp_path / "run") == before
    assert go(small(), resume=True).epoch == 4


@pytest.mark.parametrize("step", [3, 17])
@pytest.mark.parametrize("how", ["deleted", "renamed", "replaced"])
def test_a_run_directory_that_goes_while_it_trains_does_not_come_back(small, go, tmp_path, how, step):
    folder = tmp_path / "run"

    def act():
        if how == "deleted":
            shutil.rmtree(folder)
        else:
            folder.rename(tmp_path / "elsewhere")
        if how == "replaced":
            folder.mkdir()

    with pytest.raises(OutputError, match="deleted, renamed or replaced") as caught:
        go(small(checkpoint_every=1), progress=at_step(step, act))
    assert "\n" not in str(caught.value)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_damaged_metrics_leave_the_run_as_it_was(small, go, tmp_path):
    go(small(epochs=1))
    run = RunDir(tmp_path / "run")
    sound = run.metrics.read_bytes()

    def unreadable():
        run.metrics.unlink()
        run.metrics.mkdir()

    for damage in (
        lambda: run.metrics.write_text("nonsense\n"),
        lambda: run.metrics.write_text('{"epoch": 1, "bound": "x"}\n'),
        lambda: run.metrics.write_bytes(sound.replace(b'"epoch": 1', b'"epoch": 9')),
        unreadable,
    ):
        damage()
        before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
        with pytest.raises(ResultsError, match=r"metrics\.jsonl") as caught:
            go(small(epochs=2), resume=True)
        assert "\n" not in str(caught.value)
        assert {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()} == before
    run.metrics.rmdir()
    run.metrics.write_bytes(sound)
    assert go(small(epochs=2), resume=True).epoch == 2


def test_an_environment_from_before_is_kept(small, go, tmp_path):
    go(small(epochs=1))
    run = RunDir(tmp_path / "run")
    env = read_json(run.env)
    assert env["snrkit"]
    assert "cwd_commit" in env
    old = {"python": "3.11.0", "commit": "abc", "argv": []}
    write_json(run.env, old)
    go(small(epochs=2), resume=True)
    env = read_json(run.env)
    assert {name: env[name] for name in old} == old
    assert len(env["resumed"]) == 1
