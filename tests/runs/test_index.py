"""How runs stand is read off their small files, quickly, and what cannot be read is said of that run alone."""

import json
import shutil

import pytest

from snrkit.errors import ResultsError
from snrkit.files import write_json
from snrkit.runs.folder import RunDir
from snrkit.runs.index import standing, standings
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.lock import alone_in
from snrkit.runs.settings import differing, settings, shortened
from snrkit.specs.run import RunSpec
from tests.support.tables import table

CHANGES = {
    "estimator": {"name": "ciwae", "K": 4, "options": {"beta": {"learn": "bounded", "start": 0.5}}},
    "model": {"options": {"hidden": [8, 6]}},
    "seed": 3,
}


@pytest.fixture
def run(tmp_path):
    """A run directory without a checkpoint, of two epochs of four."""
    folder = RunDir(tmp_path / "runs" / "one")
    folder.path.mkdir(parents=True)
    folder.config.write_text(RunSpec(**CHANGES, epochs=4).to_toml())
    folder.set_status("interrupted", "signal")
    for epoch in (1, 2):
        folder.append_metrics({"epoch": epoch, "step": 5 * epoch, "bound": -9.5 + epoch})
    return folder


def test_settings_are_called_as_set_takes_them():
    found = settings(RunSpec(**CHANGES))
    expected = {"seed": 3, "estimator.K": 4, "estimator.options.beta.start": 0.5, "model.options.hidden": "[8, 6]"}
    assert {name: found[name] for name in expected} == expected
    others = settings(RunSpec(**CHANGES | {"seed": 4, "model": {"name": "mlp"}, "estimator": {"K": 4}}))
    assert differing([found, others]) == [
        "model.options.hidden", "estimator.name", "estimator.options.beta.learn", "estimator.options.beta.start",
        "estimator.options.beta.lr", "seed",
    ]  # fmt: skip
    assert differing([found]) == differing([]) == []
    short = shortened(["estimator.name", "estimator.K", "data.seed", "seed", "optimiser.lr"])
    assert list(short.values()) == ["estimator", "K", "data.seed", "seed", "lr"]


STATES = {
    "done": ("done", "", 0, "done"),
    "failed": ("failed", "no such thing", 2, "failed"),
    "diverged": ("failed", "became nan", 3, "diverged"),
    "stopped": ("interrupted", "signal", 0, "interrupted"),
    "killed": ("running", "", 0, "interrupted"),
}


@pytest.mark.parametrize("case", STATES)
def test_the_state_is_that_of_the_record_unless_a_process_is_at_work(run, case):
    *status, expected = STATES[case]
    run.set_status(*status)
    assert standing(run.path).state == expected
    with alone_in(run.path):
        assert standing(run.path).state == ("done" if expected == "done" else "running")


def test_what_is_new_and_what_has_no_record(run):
    run.status.unlink()
    assert (standing(run.path).state, standing(run.path).why) == ("unknown", "no status.json")
    run.metrics.unlink()
    assert standing(run.path).state == "new"


def test_epoch_bound_age_and_size(run):
    found = standing(run.path)
    files = list(run.path.iterdir())
    assert (found.epoch, found.epochs, found.bound, found.snr) == (2, 4, -7.5, None)
    assert found.size == sum(file.stat().st_size for file in files)
    assert found.changed == max(file.stat().st_mtime for file in files)


def test_the_reading_is_of_the_runs_own_estimator_at_the_nearest_samples_and_the_last_step(run):
    rows = table()
    base = rows.iloc[:1].assign(metric="snr_mean", block="inference", estimator="ciwae", M=1, options="beta=0.5")
    for step, K, estimator, value in (
        (5, 4, "ciwae", 9.0),
        (10, 2, "ciwae", 1.0),
        (10, 64, "ciwae", 2.0),
        (10, 4, "iwae", 3.0),
    ):
        SNR.merge(run.snr, base.assign(step=step, K=K, estimator=estimator, value=value))
    found = standing(run.path).snr
    assert (found.value, found.M, found.K, found.step) == (1.0, 1, 2, 10)


def test_a_reading_at_other_options_than_those_trained_with_is_not_the_runs(run):
    run.config.write_text(RunSpec(estimator={"name": "ciwae", "K": 4, "options": {"beta": 0.5}}, epochs=4).to_toml())
    base = table().iloc[:1].assign(metric="snr_mean", block="inference", estimator="ciwae", M=1, K=4)
    for options, value in (("beta=0.9", 9.0), ("beta=0.5", 1.0), ("beta=0.1", 5.0)):
        SNR.merge(run.snr, base.assign(options=options, value=value))
    assert standing(run.path).snr.value == 1.0


def test_only_the_last_line_of_the_metrics_counts_and_one_cut_short_does_not(run):
    whole = run.metrics.read_text()
    run.metrics.write_text("junk\n" + whole + '{"epoch": 3, "bo')
    assert standing(run.path).epoch == 2


def test_an_empty_specification_is_no_run_of_the_defaults(run, tmp_path):
    run.config.write_text("")
    (one,) = standings([tmp_path])
    assert (one.settings, one.epochs) == ({}, None)
    assert "config.toml: is empty" in one.why


@pytest.mark.parametrize("file", ["config.toml", "metrics.jsonl", "snr.parquet", "status.json"])
def test_what_is_damaged_is_said_of_its_run_alone(run, tmp_path, file):
    shutil.copytree(run.path, run.path.with_name("two"))
    (run.path / file).write_text('{"junk\n')
    one, two = standings([tmp_path])
    assert file in one.why
    assert two.why == "signal"


def test_runs_are_found_at_any_depth_and_each_once(run, tmp_path):
    for place in ("a/b/two", ".hidden/three", "one/steps/four"):
        shutil.copytree(run.path, tmp_path / "runs" / place)
    found = standings([tmp_path, tmp_path / "runs" / "one"])
    assert [one.path.name for one in found] == ["two", "one"]
    for path, word in ((tmp_path / "none", "is no folder"), (tmp_path / "runs" / "one" / "steps", None)):
        if word:
            with pytest.raises(ResultsError, match=word):
                standings([path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultsError, match="no run there"):
        standings([tmp_path / "empty"])


def test_a_status_that_is_no_object(run):
    write_json(run.status, ["done"])
    assert standing(run.path).state == "unknown"
    run.status.write_text(json.dumps({"state": 3}))
    assert standing(run.path).state == "unknown"
