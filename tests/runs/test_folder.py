"""Run directories: the lines of their epochs, how they stand and what they are called."""

import json
from pathlib import Path

import pytest

from snrkit.errors import ResultsError
from snrkit.runs.folder import RunDir


def test_metrics_round_trip_and_replace(tmp_path):
    run = RunDir(tmp_path / "run")
    assert run.read_metrics() == []
    run.write_metrics([{"epoch": 1}])
    run.append_metrics({"epoch": 2, "bound": 0.1 + 0.2})
    assert run.read_metrics() == [{"epoch": 1}, {"epoch": 2, "bound": 0.1 + 0.2}]
    run.write_metrics([{"epoch": 5}])
    assert run.read_metrics() == [{"epoch": 5}]


def test_a_metrics_line_cut_short_is_left_out(tmp_path):
    run = RunDir(tmp_path)
    run.metrics.write_text('{"epoch": 1}\n{"epo')
    assert run.read_metrics() == [{"epoch": 1}]


@pytest.mark.parametrize("line", ["nonsense", "[1]", '{"bound": 1}', ""])
def test_a_damaged_metrics_line_is_named(tmp_path, line):
    run = RunDir(tmp_path)
    run.metrics.write_text(f'{{"epoch": 1}}\n{line}\n{{"epoch": 3}}\n')
    with pytest.raises(ResultsError, match="line 2"):
        run.read_metrics()


def test_status(tmp_path):
    run = RunDir(tmp_path / "run")
    assert run.state() == ""
    run.set_status("failed", "why not")
    assert run.state() == "failed"
    assert json.loads(run.status.read_text()) == {"state": "failed", "why": "why not"}
    run.status.write_text("{")
    assert run.state() == ""


def test_name_of_a_run_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert RunDir(Path()).name == tmp_path.name
