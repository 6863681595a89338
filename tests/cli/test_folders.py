"""Commands on a folder of runs: each by itself, done ones once, a failing one alone, and the parts of an array add up."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from snrkit.cli import folders
from snrkit.runs import done
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.shard import Shard

FEW = ["--draws", 4, "--data-points", 2, "--device", "cpu", "--quiet"]
COMMANDS = {
    "snr": ["--K", "3", *FEW],
    "evaluate": ["--samples", 128, "--points", 4, "--device", "cpu", "--quiet"],
    "reconstruct": ["--points", "0,1", "--samples", 2, "--device", "cpu", "--quiet"],
    "beta": ["--K", 4, *FEW],
    "advise": ["--budget", 2, "--estimator", "vae,iwae", *FEW],
}
RESULT = {
    "snr": "snr.parquet", "evaluate": "evaluation.json", "reconstruct": "reconstructions.parquet", "beta": "beta.csv",
    "advise": "advice.json",
}  # fmt: skip
KEY = {
    "snr": "measurements", "evaluate": "evaluations", "reconstruct": "reconstructions", "beta": "curves", "advise": "advice",
}  # fmt: skip


@pytest.fixture
def many(toy_run, tmp_path, snrkit):
    """A folder of three runs that differ in their seed."""
    folder = tmp_path / "many"
    for seed in range(3):
        shutil.copytree(toy_run, folder / f"run-{seed}")
    return folder


@pytest.fixture
def pixels(tmp_path_factory, snrkit):
    folder = tmp_path_factory.mktemp("pixels") / "many"
    argv = ["--data", "digits", "--set", "model.options.hidden=[4]", "--set", "model.options.latent=2", "--epochs", 0]
    for seed in range(2):
        assert (
            snrkit("train", *argv, "--seed", seed, "--device", "cpu", "--quiet", "--out", folder / f"run-{seed}").code
            == 0
        )
    return folder


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def states(result):
    return [run["state"] for run in json.loads(result.out)["runs"]]


@pytest.mark.parametrize(
    "command",
    [name if name in ("snr", "evaluate") else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS],
)
def test_each_run_has_its_own_result_and_is_done_once(snrkit, many, pixels, command):
    folder = pixels if command == "reconstruct" else many
    argv = [command, "--ckpt", folder, *COMMANDS[command]]
    result = snrkit(*argv, "--json")
    assert (result.code, result.err) == (0, "")
    told = json.loads(result.out)
    count = len(list(folder.iterdir()))
    assert [run["run"] for run in told["runs"]] == [f"run-{seed}" for seed in range(count)]
    assert len(told[KEY[command]]) == count
    assert all((run / RESULT[command]).is_file() for run in folder.iterdir())
    before = stamps(folder)
    again = snrkit(*argv)
    assert again.out.splitlines()[-1] == f"{count} runs: {count} done before"
    assert stamps(folder) == before
    assert states(snrkit(*argv, "--again", "--json")) == ["done"] * count


def test_one_of_them_is_as_it_is_by_itself(snrkit, many, tmp_path):
    alone = shutil.copytree(many / "run-1", tmp_path / "alone" / "run-1")
    for command in ("snr", "evaluate"):
        snrkit(command, "--ckpt", many, *COMMANDS[command])
        snrkit(command, "--ckpt", alone, *COMMANDS[command])
    one, other = (SNR.read(run / "snr.parquet").drop(columns="seconds") for run in (alone, many / "run-1"))
    assert one.equals(other)
    scores = [json.loads((run / "evaluation.json").read_text())["rows"] for run in (alone, many / "run-1")]
    assert scores[0] == scores[1]
    assert not (alone / "done.json").exists()


@pytest.mark.parametrize("command", ["snr", "evaluate"])
def test_on_noise_of_their_own_runs_have_the_numbers_of_their_seed(snrkit, tmp_path, command):
    for seed in (3, 5):
        argv = [
            "--data",
            "gaussian",
            "--model",
            "gaussian",
            "--epochs",
            0,
            "--device",
            "cpu",
            "--quiet",
            "--seed",
            seed,
        ]
        assert snrkit("train", *argv, "--out", tmp_path / "many" / f"run-{seed}").code == 0
    argv = [command, *COMMANDS[command], "--ckpt", tmp_path / "many"]
    assert snrkit(*argv, "--seed", "own").code == 0
    assert states(snrkit(*argv, "--seed", "own", "--json")) == ["before"] * 2
    kind = KINDS.load({"snr": "snr", "evaluate": "evaluations"}[command])
    for seed in (3, 5):
        own = tmp_path / "many" / f"run-{seed}"
        assert snrkit(*argv[:-1], own, "--seed", seed, "--out", tmp_path / RESULT[command]).code == 0
        one, other = (kind.read(path / RESULT[command]).astype({"run": str}) for path in (tmp_path, own))
        assert set(other["seed"].astype(str)) == {str(seed)}
        alone = one[one["run"] == own.name].drop(columns="seconds", errors="ignore").reset_index(drop=True)
        assert alone.equals(other.drop(columns="seconds", errors="ignore"))


# What was done is done again where anything that it rests on is another.
CHANGES = {
    "checkpoint": (lambda run: shutil.copy(run.parent / "other.pt.keep", run / "run.pt"), [], ["before", "done", "before"]),
    "asked": (lambda run: None, ["--seed", 1], ["done"] * 3),
    "result": (lambda run: (run / "evaluation.json").unlink(), [], ["before", "done", "before"]),
    "edited": (lambda run: (run / "evaluation.json").write_text("{}"), [], ["before", "done", "before"]),
    "record": (lambda run: (run / "done.json").write_text("{"), [], ["before", "done", "before"]),
    "junk": (lambda run: (run / "done.json").write_text('{"a": 3}'), [], ["before", "done", "before"]),
    "nothing": (lambda run: None, [], ["before"] * 3),
}  # fmt: skip


@pytest.mark.rest_slow
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_done_is_believed_only_while_all_is_as_it_was(snrkit, many, toy_run, tmp_path, change):
    argv = ["evaluate", "--ckpt", many, *COMMANDS["evaluate"]]
    assert snrkit(*argv).code == 0
    trained = ["--resume", "--out", toy_run, "--epochs", 1, "--device", "cpu", "--quiet"]
    if change == "checkpoint":
        assert snrkit("train", *trained).code == 0
        shutil.copy(toy_run / "run.pt", many / "other.pt.keep")
    act, more, expected = CHANGES[change]
    act(many / "run-1")
    assert states(snrkit(*argv, *more, "--json")) == expected


def test_other_data_and_a_models_file_are_what_they_hold_and_not_what_they_are_called(monkeypatch, tmp_path):
    class Pressed:
        info_name = "evaluate"

    wanted = []
    monkeypatch.setattr(folders.click, "get_current_context", lambda: Pressed)
    monkeypatch.setattr(done, "request", lambda command, asked: wanted.append(json.dumps(asked, sort_keys=True)) or "")
    monkeypatch.setattr(done, "is_done", lambda *_: True)
    for run in ("one", "two"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "run.pt").write_bytes(b"")
    kept, model = tmp_path / "data" / "mnist.gz", tmp_path / "mine.py"
    kept.parent.mkdir()
    for written in (kept, kept, model, model):
        written.write_text(f"{len(wanted)}")
        opening = folders.Opening([tmp_path / "runs"], f"{model}:Mine", kept.parent, "cpu", Shard(), again=False)
        folders.on_runs(opening, None, {"data": "mnist"}, results="evaluations", as_json=True)
    assert len(set(wanted)) == 4
    folders.on_runs(opening, None, {"data": "mnist"}, results="evaluations", as_json=True)
    assert wanted[-1] == wanted[-2]


def test_a_table_that_others_add_to_still_holds_what_was_measured(snrkit, many):
    first, second = (["snr", "--ckpt", many, "--K", K, *FEW, "--json"] for K in ("2,3", "5"))
    assert states(snrkit(*first)) == states(snrkit(*second)) == ["done"] * 3
    assert states(snrkit(*first)) == states(snrkit(*second)) == ["before"] * 3
    table = SNR.read(many / "run-1" / "snr.parquet")
    SNR.write(many / "run-1" / "snr.parquet", table[table["K"] != 3])
    assert states(snrkit(*second)) == ["before"] * 3
    assert states(snrkit(*first)) == ["before", "done", "before"]
    assert set(SNR.read(many / "run-1" / "snr.parquet")["K"]) == {2, 3, 5}


def test_all_into_one_table(snrkit, many, tmp_path):
    argv = ["snr", "--ckpt", many, "--out", tmp_path / "all.parquet", *COMMANDS["snr"], "--json"]
    assert states(snrkit(*argv)) == ["done"] * 3
    assert set(SNR.read(tmp_path / "all.parquet")["run"]) == {"run-0", "run-1", "run-2"}
    assert states(snrkit(*argv)) == ["before"] * 3
    # It is another thing to have it beside the run.
    assert states(snrkit(*argv[:3], *COMMANDS["snr"], "--json")) == ["done"] * 3


@pytest.mark.parametrize("command", ["evaluate", "reconstruct", "beta", "advise"])
def test_one_file_cannot_hold_the_results_of_several(snrkit, many, tmp_path, command):
    argv = [
        command,
        "--ckpt",
        many,
        *COMMANDS[command],
        "--out",
        tmp_path / f"one.{RESULT[command].rpartition('.')[2]}",
    ]
    snrkit(*argv).refused("--out", "is one file, and there are 3 runs", "snrkit collect")


@pytest.mark.parametrize("command", ["snr", "evaluate"])
def test_one_that_fails_loses_nothing_of_the_others(snrkit, many, command):
    (many / "run-1" / "run.pt").write_bytes(b"junk")
    argv = [command, "--ckpt", many, *COMMANDS[command]]
    result = snrkit(*argv)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "run-1" in result.err
    assert "3 runs: 2 done, 1 failed\nfailed: run-1: " in result.out
    assert states(snrkit(*argv, "--json")) == ["before", "failed", "before"]


def test_a_run_without_a_checkpoint_is_told_of_and_has_its_place_in_the_parts(snrkit, many):
    (many / "run-1" / "run.pt").unlink()
    argv = ["evaluate", "--ckpt", many, *COMMANDS["evaluate"]]
    parts = [snrkit(*argv, "--shard", f"{number}/3") for number in (1, 2, 3)]
    ends = [part.out.splitlines()[-1] for part in parts]
    assert ends == ["part 1/3: 1 run: 1 done", "waiting: run-1: has no checkpoint yet", "part 3/3: 1 run: 1 done"]
    assert [part.code for part in parts] == [0, 4, 0]  # the same job later
    result = snrkit(*argv)
    assert (result.code, result.err) == (4, "")
    assert result.out == "3 runs: 2 done before, 1 without a checkpoint yet\nwaiting: run-1: has no checkpoint yet\n"


def test_a_run_whose_training_failed_is_not_waited_for(snrkit, many):
    (many / "run-1" / "run.pt").unlink()
    RunDir(many / "run-1").set_status("failed", "the bound is NaN", 3)
    result = snrkit("evaluate", "--ckpt", many, *COMMANDS["evaluate"])
    assert result.code == 3
    assert result.out.endswith("3 runs: 2 done, 1 failed\nfailed: run-1: its training failed: the bound is NaN\n")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("run-1", "yet; train first: 'snrkit train --resume', or the sweep again"),
        ("..", "but further down; give --ckpt {folder}/many"),
    ],
)
def test_a_folder_without_a_checkpoint_is_told_what_to_do_about_it(snrkit, many, tmp_path, place, said):
    (many / "run-1" / "run.pt").unlink()
    many = shutil.move(many, tmp_path / "deep" / "many")
    result = snrkit("snr", "--ckpt", many / place, *COMMANDS["snr"])
    assert result.code == 2
    assert result.err.endswith(f"{said.format(folder=many / place)}\n")
    assert result.err.count("\n") == 1


def test_a_fault_of_the_program_is_one_of_its_run(snrkit, many, monkeypatch):
    from snrkit.run import Run

    measure = Run.measure
    monkeypatch.setattr(Run, "measure", lambda self, *a, **k: 1 / (self.name != "run-1") and measure(self, *a, **k))
    result = snrkit("snr", "--ckpt", many, *COMMANDS["snr"])
    assert result.code == 1
    assert "Traceback" in result.err
    assert "failed: run-1: ZeroDivisionError" in result.out
    assert "2 done" in result.out


def test_what_is_wrong_with_all_is_said_once(snrkit, many):
    result = snrkit("evaluate", "--ckpt", many, "--samples", 100, "--device", "cpu")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "--samples" in result.err
    assert "3 runs: 3 failed" in result.out


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(snrkit, many, monkeypatch):
    opened = folders.Opening.open

    def and_interrupt(self, file):
        if file.parent.name == "run-1":
            os.kill(os.getpid(), signal.SIGINT)
        return opened(self, file)

    argv = ["evaluate", "--ckpt", many, *COMMANDS["evaluate"], "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(folders.Opening, "open", and_interrupt)
        result = snrkit(*argv)
    assert result.code == 130
    assert states(result) == ["done"]
    assert states(snrkit(*argv)) == ["before", "done", "done"]


def test_the_parts_of_an_array_are_all_and_each_once(snrkit, many):
    argv = ["evaluate", "--ckpt", many, *COMMANDS["evaluate"]]
    told = []
    for part in ("2/2", "1/2"):
        told += [run["run"] for run in json.loads(snrkit(*argv, "--shard", part, "--json").out)["runs"]]
    assert sorted(told) == ["run-0", "run-1", "run-2"]
    assert snrkit(*argv).out.endswith("3 runs: 3 done before\n")
    assert "part 5/5: 0 runs: there is nothing" in snrkit(*argv, "--shard", "5/5").out
    snrkit(*argv, "--shard", "0/5").refused("--shard", "count from 1")


def test_loose_checkpoints_have_records_of_their_own(snrkit, toy_run, tmp_path):
    folder = tmp_path / "loose"
    folder.mkdir()
    for name in "ab":
        shutil.copy(toy_run / "run.pt", folder / f"{name}.pt")
    argv = ["evaluate", "--ckpt", folder, *COMMANDS["evaluate"], "--json"]
    assert states(snrkit(*argv)) == ["done"] * 2
    (folder / "a.evaluation.json").unlink()
    assert states(snrkit(*argv)) == ["done", "before"]


def test_a_request_is_the_command_and_all_it_was_asked(monkeypatch):
    base = done.request("evaluate", {"samples": 5, "out": Path("a")})
    assert base == done.request("evaluate", {"out": Path("a"), "samples": 5})
    others = [
        done.request("snr", {"samples": 5, "out": Path("a")}),
        done.request("evaluate", {"samples": 6, "out": Path("a")}),
    ]
    monkeypatch.setattr(done, "version", lambda: "another")
    assert len({base, *others, done.request("evaluate", {"samples": 5, "out": Path("a")})}) == 4
