"""A sweep killed at any moment and started again ends with the bits of one that was not; a run that fails, fails alone."""

import json
import shutil
from contextlib import ExitStack

import pytest
import torch

from snrkit.errors import CheckpointError, NonFiniteError, ResourceError, ResultsError, SpecError
from snrkit.models.base import build_model
from snrkit.models.summary import DataSummary
from snrkit.runs import commit
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in
from snrkit.specs.grid import run_name
from snrkit.specs.run import ModelSpec
from snrkit.specs.shard import Shard
from snrkit.training import sweep
from snrkit.training.entries import claim, crews
from snrkit.training.session import train
from snrkit.training.sweep import Sweep, surveyed
from snrkit.training.trainer import Trainer
from tests.support.training import everything

CPU = torch.device("cpu")
DIGITS = {
    "data": {"name": "digits", "train_limit": 23},
    "model": {"name": "mlp", "options": {"hidden": [7], "latent": 3}},
}
ESTIMATORS = [("vae", 8, 1), ("iwae", 1, 8), ("piwae", 2, 4)]


class Killed(BaseException):
    """Passes through whatever handles errors, as SIGKILL does."""


@pytest.fixture(scope="module")
def specs(small):
    return [small(**DIGITS, estimator={"name": n, "M": M, "K": K}, seed=i) for i, (n, M, K) in enumerate(ESTIMATORS)]


def go(specs, out, *, size=3, stopped=lambda: False, watch=lambda: None, retry=False):
    """One visit: the sweep as a new process would find it."""
    made = Sweep(specs, out, data_dir=None, device=CPU, side_by_side=size, retry=retry)
    made.run(stopped, watch)
    return made.entries


def states(entries):
    return [entry.state for entry in entries]


def after(calls, action=lambda: True):
    """False before the so-manieth call, from then on what the action gives."""
    count = 0

    def call(*_args):
        nonlocal count
        count += 1
        return action() if count >= calls else False

    return call


def kill():
    raise Killed


def only_runs(out, specs):
    return {path.name for path in out.iterdir()} == {run_name(spec) for spec in specs}


@pytest.fixture(scope="module")
def finished(specs, tmp_path_factory):
    """Folders of the sweep done in one visit, by how many runs stood side by side; not to be written to."""

    class Folders(dict):
        def __missing__(self, size):
            self[size] = tmp_path_factory.mktemp(f"side-by-side-{size}")
            assert states(go(specs, self[size], size=size)) == ["done"] * 3
            return self[size]

    return Folders()


@pytest.fixture(scope="module")
def undisturbed(finished):
    return everything(finished[3])


# 5 steps an epoch, saved after epochs 0, 3 and 4: twice within an epoch, once before anything was saved.
@pytest.mark.rest_slow
@pytest.mark.parametrize("steps", [(1, 1), (7, 3), (17, 2), (19, 4)])
def test_killed_twice_between_steps(specs, tmp_path, undisturbed, steps):
    for count in steps:
        with pytest.raises(Killed):
            go(specs, tmp_path / "parts", watch=after(count, kill))
    go(specs, tmp_path / "parts")
    assert everything(tmp_path / "parts") == undisturbed
    assert only_runs(tmp_path / "parts", specs)


# Three saves of three members each: the first, within the second, the last; slow: the others too.
@pytest.mark.rest_slow
@pytest.mark.parametrize(
    "call", [call if call in (1, 5, 6, 9) else pytest.param(call, marks=pytest.mark.slow) for call in range(1, 10)]
)
@pytest.mark.parametrize("when", ["staging", "replacing"])
def test_killed_while_saving(specs, tmp_path, undisturbed, monkeypatch, call, when):
    name = {"staging": "save_checkpoint", "replacing": "guard"}[when]
    original, act = getattr(commit, name), after(call, kill)
    with monkeypatch.context() as patch:
        patch.setattr(commit, name, lambda *args: (act(), original(*args)))
        with pytest.raises(Killed):
            go(specs, tmp_path / "parts")
    places = {load_checkpoint(run).step for run in (tmp_path / "parts").iterdir() if (run / "run.pt").exists()}
    go(specs, tmp_path / "parts")
    assert everything(tmp_path / "parts") == undisturbed
    assert only_runs(tmp_path / "parts", specs)
    # The test meets what it is about: members that were saved at different steps.
    if when == "replacing" and call in (5, 6):
        assert len(places) == 2


@pytest.mark.rest_slow
@pytest.mark.parametrize("size", [1, 2, 3])
def test_stopped_again_and_again(specs, tmp_path, finished, size):
    for count in (3, 9, 1):
        entries = go(specs, tmp_path / "parts", size=size, stopped=after(count))
        assert "interrupted" in states(entries)
        assert "failed" not in states(entries)
    go(specs, tmp_path / "parts", size=size)
    assert everything(tmp_path / "parts") == everything(finished[size])


def test_what_a_stop_comes_before_is_not_touched(specs, tmp_path):
    entries = go(specs, tmp_path / "out", size=1, stopped=after(3))
    assert states(entries)[1:] == ["waiting", "waiting"]
    assert not entries[1].run.path.exists()


def test_side_by_side_or_not_is_the_same_to_rounding(specs, finished):
    for spec in specs:
        one, other = (load_checkpoint(finished[size] / run_name(spec)).model for size in (1, 3))
        for name in one:
            assert (one[name] - other[name]).norm() < 1e-4 * one[name].norm()


def test_a_member_is_an_ordinary_run(specs, tmp_path):
    go(specs, tmp_path / "parts", stopped=after(8))
    run = RunDir(tmp_path / "parts" / run_name(specs[2]))
    assert {path.name for path in run.path.iterdir() if path.name != ".lock"} == {
        "run.pt", "config.toml", "env.json", "metrics.jsonl", "status.json",
    }  # fmt: skip
    assert run.checkpoint.stat().st_size < 30_000
    train(specs[2], run, data_dir=None, device=CPU, resume=True, progress=lambda *_: None)
    whole = train(
        specs[2], RunDir(tmp_path / "whole"), data_dir=None, device=CPU, resume=False, progress=lambda *_: None
    )
    for name, value in load_checkpoint(run.path).model.items():
        assert (value - whole.model[name]).norm() < 1e-4 * value.norm()
    # The others stand elsewhere now, and still go on.
    assert states(go(specs, tmp_path / "parts")) == ["done"] * 3


def test_what_is_finished_is_left_alone(specs, finished):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in finished[3].rglob("*.*")}

    before = stamps()
    assert states(go(specs, finished[3])) == ["done"] * 3
    assert stamps() == before


def test_more_epochs_later_are_the_same_as_at_once(specs, tmp_path, undisturbed):
    go([spec.model_copy(update={"epochs": 2}) for spec in specs], tmp_path / "parts")
    go(specs, tmp_path / "parts")
    assert everything(tmp_path / "parts") == undisturbed


@pytest.fixture
def poisoned(monkeypatch):
    """The bound of the second run becomes NaN at step 7."""
    account = Trainer.account

    def nan_at_seven(self, bound, points, seconds):
        account(self, float("nan") if (self.spec.seed, self.step) == (1, 7) else bound, points, seconds)

    monkeypatch.setattr(Trainer, "account", nan_at_seven)


@pytest.mark.parametrize("size", [1, 3])
def test_a_run_that_blows_up_fails_alone(specs, tmp_path, poisoned, size):
    entries = go(specs, tmp_path / "out", size=size)
    assert states(entries) == ["done", "failed", "done"]
    assert "bound: became nan at step 7 (epoch 2)" in entries[1].why
    assert [entry.run.state() for entry in entries] == ["done", "failed", "done"]
    assert load_checkpoint(entries[1].run.path).step == 0
    # It is told again, and left alone unless that is asked for.
    again = go(specs, tmp_path / "out", size=size)
    assert (states(again), again[1].why) == (states(entries), entries[1].why)
    assert load_checkpoint(entries[1].run.path).step == 0


def test_a_failed_run_can_be_tried_again(specs, tmp_path, poisoned, monkeypatch):
    go(specs, tmp_path / "out")
    monkeypatch.undo()
    assert states(go(specs, tmp_path / "out", retry=True)) == ["done"] * 3


@pytest.mark.slow
def test_killed_around_a_failure(specs, tmp_path, poisoned):
    """The survivors are saved with the failure, so that their number never differs between one history and another."""
    go(specs, tmp_path / "whole")
    for count in (6, 8, 12):
        with pytest.raises(Killed):
            go(specs, tmp_path / f"parts-{count}", watch=after(count, kill))
        go(specs, tmp_path / f"parts-{count}")
        assert everything(tmp_path / f"parts-{count}") == everything(tmp_path / "whole")


def test_when_all_members_fail(specs, tmp_path, monkeypatch):
    def fail(self, *args):
        raise NonFiniteError("bound", "became nan", "try another")

    monkeypatch.setattr(Trainer, "account", fail)
    entries = go(specs, tmp_path / "out")
    assert states(entries) == ["failed"] * 3
    assert {entry.run.state() for entry in entries} == {"failed"}


def test_an_error_of_the_program_is_reported_and_the_rest_goes_on(specs, tmp_path, monkeypatch):
    step = Trainer._step

    def faulty(self, x):
        if self.spec.seed == 1:
            raise RuntimeError("no such thing")
        return step(self, x)

    monkeypatch.setattr(Trainer, "_step", faulty)
    entries = go(specs, tmp_path / "out", size=1)
    assert states(entries) == ["done", "failed", "done"]
    assert entries[1].why == "RuntimeError: no such thing (traceback in error.txt)"
    assert [entry.run.error.exists() for entry in entries] == [False, True, False]
    assert "in faulty" in entries[1].run.error.read_text()
    # What is mended leaves no trace of it.
    monkeypatch.undo()
    assert states(go(specs, tmp_path / "out", size=1, retry=True)) == ["done"] * 3
    assert not entries[1].run.error.exists()


def test_an_error_of_the_program_before_training_fails_its_run_only(specs, tmp_path, monkeypatch):
    made = Trainer.__init__

    def faulty(self, spec, *args):
        if spec.seed == 1:
            raise RuntimeError("no such thing")
        made(self, spec, *args)

    monkeypatch.setattr(Trainer, "__init__", faulty)
    entries = go(specs, tmp_path / "out")
    assert states(entries) == ["done", "failed", "done"]
    assert entries[1].why == "RuntimeError: no such thing (traceback in error.txt)"
    assert "in faulty" in entries[1].run.error.read_text()


@pytest.mark.rest_slow
@pytest.mark.parametrize("damage", ["junk", "binary", "missing", "metrics"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_damaged_directory_fails_its_run_only(specs, tmp_path, finished, damage, size):
    name = run_name(specs[1])
    shutil.copytree(finished[1] / name, tmp_path / "out" / name)
    run = RunDir(tmp_path / "out" / name)
    config = run.config
    act, word = {
        "junk": (lambda: config.write_text("not = = toml"), "config.toml: not valid TOML"),
        "binary": (lambda: config.write_bytes(b"\xff\x00"), "config.toml: cannot be read"),
        "missing": (config.unlink, "config.toml: cannot be read"),
        "metrics": (lambda: run.metrics.write_text("junk\n"), "metrics.jsonl: line 1"),
    }[damage]
    act()
    entries = go(specs, tmp_path / "out", size=size)
    assert states(entries) == ["done", "failed", "done"]
    assert word in entries[1].why


@pytest.fixture
def branching(monkeypatch, finished):
    """A value decides on the control flow of the model, which vmap refuses; not of what is finished one by one."""
    assert finished[1]
    model = build_model(ModelSpec(**DIGITS["model"]), DataSummary(torch.zeros(64), False), 0)
    forward = type(model).forward

    def by_value(self, x, noise, path=False):
        return forward(self, x, noise if x.sum() > 0 else -noise, path)

    monkeypatch.setattr(type(model), "forward", by_value)


def test_what_cannot_stand_side_by_side_is_trained_one_by_one(specs, tmp_path, finished, branching):
    entries = go(specs, tmp_path / "parts")
    assert states(entries) == ["done"] * 3
    assert not any(entry.why or entry.run.error.exists() for entry in entries)
    assert everything(tmp_path / "parts") == everything(finished[1])


def test_what_cannot_stand_side_by_side_goes_on_after_stops(specs, tmp_path, finished, branching):
    for count in (3, 9):
        assert "interrupted" in states(go(specs, tmp_path / "parts", stopped=after(count)))
    assert states(go(specs, tmp_path / "parts")) == ["done"] * 3
    assert everything(tmp_path / "parts") == everything(finished[1])


def test_leftovers_of_a_killed_commit_are_deleted(specs, tmp_path):
    """SIGKILL leaves the temporary files of the marker and of staged checkpoints, wherever it strikes."""
    (entry,) = go(specs[:1], tmp_path)
    left = [tmp_path / ".sweep.commit.x1.tmp", tmp_path / ".sweep.commit.x2.tmp", entry.run.path / ".run.next.x3.tmp"]
    kept = entry.run.path / ".snr.parquet.x4.tmp.parquet"
    for path in [*left, kept]:
        path.touch()
    assert states(go(specs[:1], tmp_path)) == ["done"]
    assert not any(path.exists() for path in left)
    # Another program may be writing that one.
    assert kept.exists()


def test_bad_data_fail_their_run_only(small, specs, tmp_path):
    bad = small(data={"name": "npz", "path": "none.npz"})
    entries = go([bad, *specs], tmp_path / "out")
    assert states(entries) == ["failed", "done", "done", "done"]
    assert "no such file" in entries[0].why
    assert not entries[0].run.path.exists()


def test_a_damaged_checkpoint_fails_its_run_only(specs, tmp_path):
    go(specs, tmp_path / "out", stopped=after(8))
    RunDir(tmp_path / "out" / run_name(specs[0])).checkpoint.write_bytes(b"junk")
    entries = go(specs, tmp_path / "out")
    assert states(entries) == ["failed", "done", "done"]
    with pytest.raises(CheckpointError):
        load_checkpoint(entries[0].run.path)


@pytest.mark.parametrize(
    ("kind", "name", "near"), [("estimator", "iwea", "iwae"), ("data", "digit", "digits"), ("model", "mpl", "mlp")]
)
def test_names_that_do_not_exist_are_told_before_anything_runs(small, specs, tmp_path, kind, name, near):
    with pytest.raises(SpecError, match=f"did you mean '{near}'"):
        go([*specs, small(**{kind: {"name": name}})], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_runs_that_differ_in_shape_are_not_put_side_by_side(small, specs, tmp_path, monkeypatch):
    sizes = []
    made = sweep.Ensemble
    monkeypatch.setattr(
        sweep, "Ensemble", lambda trainers, marker: (sizes.append(len(trainers)), made(trainers, marker))[1]
    )
    others = [small(**DIGITS, estimator={"name": "vae", "M": 1, "K": 7}), small(**DIGITS | {"batch_size": 7})]
    assert states(go([others[0], *specs, others[1]], tmp_path / "out", size=20)) == ["done"] * 5
    assert sizes == [3]


def test_two_sweeps_do_not_work_in_one_folder(tmp_path):
    with alone_in(tmp_path), pytest.raises(ResourceError, match="another process"), alone_in(tmp_path):
        pass
    with alone_in(tmp_path):
        pass


def test_a_run_that_is_being_trained_is_left_to_that(specs, tmp_path):
    own = tmp_path / run_name(specs[0])
    with alone_in(own):
        entries = go(specs, tmp_path)
        assert states(entries) == ["held", "done", "done"]
        assert "another process is at work" in entries[0].why
        assert [path.name for path in own.iterdir()] == [".lock"]
    assert states(go(specs, tmp_path)) == ["done"] * 3


def test_a_crew_that_another_process_has_is_left_to_it_whole(specs, tmp_path, undisturbed):
    (crew,) = crews(specs, tmp_path, 3)
    with alone_in(claim(crew.marker)):
        entries = go(specs, tmp_path)
        assert states(entries) == ["held"] * 3
        assert not any(entry.run.path.exists() for entry in entries)
    assert states(go(specs, tmp_path)) == ["done"] * 3
    assert everything(tmp_path) == undisturbed
    assert only_runs(tmp_path, specs)


def test_what_another_process_finished_meanwhile_is_done(specs, tmp_path):
    late = Sweep(specs, tmp_path, data_dir=None, device=CPU, side_by_side=1, retry=False)
    assert states(go(specs[1:], tmp_path, size=1)) == ["done"] * 2
    steps = []
    late.run(lambda: False, lambda: steps.append(1))
    assert states(late.entries) == ["done"] * 3
    assert len(steps) == 4 * 5 + 1


def test_what_is_freed_while_the_rest_is_trained_is_trained_too(specs, tmp_path):
    with ExitStack() as held:
        held.enter_context(alone_in(tmp_path / run_name(specs[0])))
        entries = go(specs, tmp_path, size=1, watch=after(30, held.close))
    assert states(entries) == ["done"] * 3


@pytest.mark.parametrize("size", [1, 3])
def test_the_shards_of_an_array_make_what_one_process_makes(specs, tmp_path, finished, size):
    """Also where the processes have little to do: runs side by side are one process's."""
    told = []
    for number in (3, 1, 2):
        shard = Shard(number, 3)
        made = Sweep(specs, tmp_path, data_dir=None, device=CPU, side_by_side=size, retry=False, shard=shard)
        made.run(lambda: False, lambda: None)
        told += [entry.run.name for entry in made.entries]
        assert states(made.entries) == ["done"] * len(made.entries)
    assert sorted(told) == sorted(run_name(spec) for spec in specs)
    assert everything(tmp_path) == everything(finished[size])


def test_shards_are_alike_in_work(small, tmp_path):
    specs = [small(estimator={"name": "iwae", "K": 4 ** (seed % 4)}, seed=seed) for seed in range(16)]
    shards = [crews(specs, tmp_path, 1, Shard(number, 4)) for number in (1, 2, 3, 4)]
    assert [sorted(crew.work for crew in shard) for shard in shards] == [[4 * 4**k for k in range(4)]] * 4
    dealt = [entry.run.name for shard in shards for crew in shard for entry in crew]
    assert sorted(dealt) == sorted(run_name(spec) for spec in specs)


def test_a_save_that_another_process_is_about_is_not_touched(specs, begun):
    own = run_name(specs[0])
    (begun / own / commit.STAGED).write_bytes(b"new")
    (crew,) = crews(specs, begun, 3)
    crew.marker.write_text(json.dumps({"saved": [own], "failed": {}}))
    before = {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    with alone_in(claim(crew.marker)):
        assert states(go(specs, begun)) == ["done"] * 3
    assert {path: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before
    shutil.copy(begun / own / "run.pt", begun / own / commit.STAGED)
    assert states(go(specs, begun)) == ["done"] * 3
    assert not crew.marker.exists()
    assert not (begun / own / commit.STAGED).exists()


def test_a_look_changes_nothing_and_says_who_is_at_work(specs, tmp_path):
    assert states(surveyed(specs, tmp_path / "new", 1, Shard(), retry=False)) == ["waiting"] * 3
    assert not (tmp_path / "new").exists()
    go(specs, tmp_path / "out", size=1, stopped=after(25))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with alone_in(tmp_path / "out" / run_name(specs[2])):
        found = surveyed(specs, tmp_path / "out", 1, Shard(), retry=False)
        assert states(found) == ["done", "interrupted", "held"]
        assert "another process is at work there" in found[2].why
    assert {
        path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != ".lock"
    } | before == before


@pytest.fixture
def begun(tmp_path, finished):
    """A sweep that is done, and a run beside its folder that is none of its business, with a checkpoint to come."""
    out = tmp_path / "out"
    shutil.copytree(finished[3], out)
    for run in (tmp_path / "victim", out / "bystander"):
        run.mkdir()
        (run / "run.pt").write_bytes(b"old")
        (run / commit.STAGED).write_bytes(b"new")
    return out


@pytest.mark.parametrize(
    "record",
    [
        {"saved": ["../victim"], "failed": {}},
        {"saved": ["bystander"], "failed": {}},
        {"saved": [], "failed": {"../victim": "why"}},
        {"saved": [3], "failed": {}},
        {"saved": [], "failed": {"OWN": 3}},
        {"saved": "OWN", "failed": {}},
        {"saved": ["OWN", "../victim"], "failed": {}},
        {"saved": []},
        [],
        "[" * 5000,
    ],
)
def test_a_marker_that_names_anything_but_runs_of_the_sweep_changes_nothing(specs, begun, tmp_path, record):
    own = run_name(specs[0])
    (begun / own / commit.STAGED).write_bytes(b"new")
    marker = begun / "sweep.commit"
    marker.write_text((record if isinstance(record, str) else json.dumps(record)).replace("OWN", own))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ResultsError) as caught:
        go(specs, begun)
    assert str(marker) in str(caught.value) or str(begun) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_that_is_a_link_to_elsewhere_is_not_written_through(specs, begun, tmp_path):
    own = begun / run_name(specs[0])
    own.rename(tmp_path / "moved")
    own.symlink_to(tmp_path / "victim")
    (begun / "sweep.commit").write_text(json.dumps({"saved": [own.name], "failed": {}}))
    with pytest.raises(ResultsError, match="no folder beside it"):
        go(specs, begun)
    assert (tmp_path / "victim" / "run.pt").read_bytes() == b"old"


@pytest.mark.parametrize("size", [1, 3])
def test_run_directories_deleted_while_they_train_do_not_come_back(specs, tmp_path, size):
    out = tmp_path / "out"
    entries = go(specs, out, size=size, watch=after(7, lambda: [shutil.rmtree(path) for path in out.iterdir()]))
    assert states(entries)[0] == "failed"
    assert "deleted, renamed or replaced" in entries[0].why
    assert not (out / run_name(specs[0])).exists()
