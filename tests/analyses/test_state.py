"""The states of a sweep's runs between visits: packed and unpacked together, or not at all; and the table of units."""

import json
import shutil

import pytest

from analyses.rainforth2018.evaluate import evaluate
from analyses.rainforth2018.evaluate import main as evaluate_all
from analyses.rainforth2018.rainforth import units
from analyses.rainforth2018.state import main, pack_all, show, unpack_all
from snrkit.cli.main import main as program
from snrkit.errors import CheckpointError, ResultsError
from snrkit.runs.checkpoint import load_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.base import read_toml
from snrkit.specs.grid import expand
from snrkit.specs.measure import WatchFile
from snrkit.watch import require_due
from tests.cli.test_sweep import GRID


def snrkit(*argv):
    program([str(arg) for arg in argv])


@pytest.fixture
def sweep(tmp_path):
    """Train the grid's runs of a seed so far into a folder."""
    path = tmp_path / "grid.toml"
    path.write_text(GRID)

    def call(epochs, out="state", **more):
        argv = (
            "--out",
            tmp_path / out,
            "--set",
            f"epochs={epochs}",
            "--set",
            "grid.seed=[0]",
            "--device",
            "cpu",
            "--quiet",
        )
        snrkit("sweep", path, *argv, "--ensemble", 2)
        return tmp_path / out

    return call


def test_a_sweep_goes_on_from_what_was_packed(sweep, tmp_path, capsys):
    state, folder = sweep(2), tmp_path / "kept"
    main(["pack", str(state), str(folder)])
    assert capsys.readouterr().out.endswith(f"\n{show(folder)}\n")
    main(["unpack", str(folder), str(tmp_path / "there")])
    sweep(3, "there")
    for path in state.glob("*/run.pt"):
        there = load_checkpoint(tmp_path / "there" / path.parent.name)
        assert (there.epoch, there.rounded) == (3, [load_checkpoint(path).step])
    assert show(folder).startswith("version 1 of at most 5, Adam's moments in bfloat16\ndigits-")
    assert show(folder).count("epoch 2, step 10") == 2


def refused(words, call, *args):
    with pytest.raises(CheckpointError, match=words):
        call(*args)


def test_it_is_replaced_whole_by_what_is_further_and_not_for_ever(sweep, tmp_path, monkeypatch):
    state, folder = sweep(1), tmp_path / "kept"
    pack_all(state, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    refused("as far, or further", pack_all, state, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert pack_all(sweep(2), folder)["version"] == 2
    monkeypatch.setattr("analyses.rainforth2018.state.MOST_VERSIONS", 2)
    refused("has had 2 versions", pack_all, sweep(3), folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.toml", "kept", "state"]


def test_runs_that_are_not_level_or_none_are_refused(sweep, tmp_path):
    state = sweep(1)
    run = next(path for path in sorted(state.iterdir()) if path.is_dir())
    argv = (
        "--config",
        run / "config.toml",
        "--set",
        "epochs=2",
        "--out",
        run,
        "--resume",
        "--device",
        "cpu",
        "--quiet",
    )
    snrkit("train", *argv)
    refused("different steps", pack_all, state, tmp_path / "kept")
    refused("no runs", pack_all, tmp_path / "nowhere", tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_one_bad_file_and_nothing_is_unpacked(sweep, tmp_path):
    folder, there = tmp_path / "kept", tmp_path / "there"
    pack_all(sweep(1), folder)
    first, second = sorted(folder.glob("*.state"))
    shutil.copyfile(first, second)  # sound by itself, and not what belongs there
    refused("not the file that the manifest tells of", unpack_all, folder, there)
    second.unlink()
    refused("is missing", unpack_all, folder, there)
    (folder / "state.json").unlink()
    with pytest.raises(ResultsError):
        unpack_all(folder, there)
    assert not there.exists()


def test_nothing_is_unpacked_over_something(sweep, tmp_path):
    state = sweep(1)
    pack_all(state, tmp_path / "kept")
    refused("holds something already", unpack_all, tmp_path / "kept", state)


def test_an_error_is_a_line_and_a_code(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["pack", str(tmp_path), str(tmp_path / "kept")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


UNITS = """
[[unit]]
name = "a"
what = "two runs"
epochs = 3
runs = 4
seeds = [0]
folder = "done"
state = "kept"
command = "-"
"""


def test_the_table_of_units_says_what_is_there_and_not_run_of_the_rest(sweep, tmp_path):
    (tmp_path / "units.toml").write_text(UNITS)
    (row,) = units.table(tmp_path).to_dict("records")
    assert [row[name] for name in ("finished", "evaluated", "SNR", "unfinished")] == ["not run"] * 3 + ["none kept"]
    state = sweep(2)
    pack_all(state, tmp_path / "kept")
    unpack_all(tmp_path / "kept", tmp_path / "done")
    (row,) = units.table(tmp_path).to_dict("records")
    assert (row["finished"], row["unfinished"]) == ("not run", "epoch 2, moments rounded 1x")
    sweep(3, "done")
    one = next((tmp_path / "done").glob("digits-vae*"))
    (one / "evaluation.json").write_text(json.dumps({"samples": 5000, "points": 10_000}))
    (row,) = units.table(tmp_path).to_dict("records")
    assert (row["finished"], row["evaluated"], row["SNR"], row["rounded"]) == ("2 of 4", 1, 0, 1)


def test_the_committed_units_have_their_grids():
    assert units.table(units.HOME).unit.tolist() == list("abcdef")
    for grid, count in (("full.toml", 20), ("../burda2016/sweep.toml", 5), ("../mcharrak2021/full.toml", 20)):
        settings = read_toml(units.HOME / grid)
        watched = WatchFile.taken(settings)
        specs = expand(settings, grid)
        assert len(specs) == count
        for spec in specs:
            require_due(watched, spec)


@pytest.mark.slow
def test_what_a_finished_run_lacks_is_measured_once(sweep):
    state = sweep(1)
    run = RunDir(next(state.glob("digits-miwae*")))
    assert evaluate(run, "cpu", samples=128, points=4)
    about = json.loads(run.evaluation.read_text())
    assert (about["samples"], about["points"]) == (128, 4)
    table = SNR.read(run.snr)
    assert {(M, K) for M, K in zip(table.M, table.K, strict=True)} == {(2, 4)}
    assert "inference" in set(table.block)
    run.evaluation.write_text(json.dumps({"samples": 5000, "points": 10_000}))
    assert not evaluate(run, "cpu")


def test_no_run_is_evaluated_when_the_minutes_are_over(sweep, capsys):
    state = sweep(1)
    evaluate_all([str(state), "--minutes", "0", "--device", "cpu"])
    assert "left for want of time: digits-" in capsys.readouterr().out.splitlines()[-1]
    assert not list(state.glob("*/evaluation.json"))
