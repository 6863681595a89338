"""What lies beside results: pipes, loops of links, unreadable places, many files; and names that are nearly right."""

import os
import shutil
import time

import pandas as pd
import pytest

from snrkit.errors import ResultsError
from snrkit.report import find as finding
from snrkit.report.collect import collect
from snrkit.report.find import find
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.snr import SNR
from tests.support.results import make_run, table

pytestmark = pytest.mark.usefixtures("svg_alone")


def test_pipes_devices_and_loops_are_passed_over(tmp_path):
    files = make_run(tmp_path, "run", "iwae", epochs=2)
    for pattern in map(KINDS.load, KINDS.names):
        os.mkfifo(files.path / f"x{pattern.pattern.replace('*', 'a')}")
    (files.path / "loop").symlink_to(files.path)
    (files.path / "self.parquet").symlink_to("self.parquet")
    (files.path / "device.parquet").symlink_to("/dev/zero")
    (files.path / "folder.parquet").mkdir()
    found = find([tmp_path])
    assert {kind for kind, paths in found.items() if paths} == {"snr", "metrics", "evaluations"}
    assert all(len(paths) <= 1 for paths in found.values())


@pytest.mark.parametrize("name", ["config.toml", "status.json", "evaluation.json", "metrics.jsonl", "snr.parquet"])
def test_a_pipe_in_place_of_a_file_of_a_run_is_not_waited_for(tmp_path, name):
    files = make_run(tmp_path, "run", "iwae", epochs=2)
    (files.path / name).unlink()
    os.mkfifo(files.path / name)
    found = collect([tmp_path])
    for kind in ("snr", "metrics", "evaluations"):
        _ = found[kind]
    assert found.inputs(["snr", "metrics", "evaluations"])


def test_a_pipe_that_is_named_is_refused(tmp_path):
    os.mkfifo(tmp_path / "m.parquet")
    with pytest.raises(ResultsError, match="no regular file"):
        find([tmp_path / "m.parquet"])


@pytest.mark.parametrize("path", ["a" * 5000, "loop", "loop/x", "a\udcffb.parquet"])
def test_paths_that_lead_nowhere(tmp_path, path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ResultsError, match="does not exist") as caught:
        find([tmp_path / path])
    str(caught.value).encode()


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    make_run(tmp_path, "run", "iwae", epochs=2)
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def closed(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "no", str(path))
        return real(path)

    monkeypatch.setattr(finding.os, "scandir", closed)
    found = collect([tmp_path])
    assert found.notes == [f"{tmp_path}/closed: cannot be read (PermissionError), so what it holds is left out"]
    assert len(found["metrics"]) == 2


def test_thousands_of_files(tmp_path):
    files = make_run(tmp_path, "run", "iwae", epochs=2)
    for number in range(2000):
        folder = tmp_path / "many" / str(number % 50)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(files.evaluation, folder / f"evaluation-{number}.json")
    start = time.process_time()
    found = collect([tmp_path])
    assert len(found["evaluations"]) == 3
    assert time.process_time() - start < 20


@pytest.mark.parametrize(("given", "near"), [("snr.paquet", "snr.parquet"), ("evaluation.jsn", "evaluation.json")])
def test_a_name_that_is_nearly_right_is_told(tmp_path, given, near):
    files = make_run(tmp_path, "run", "iwae", epochs=2)
    with pytest.raises(ResultsError, match=f"did you mean '.*{near}'"):
        find([files.path / given])


def test_a_figure_name_that_is_nearly_right_is_told(runs, tmp_path, run):
    code, out, err = run(runs, "--out", tmp_path / "out", "--figure", "snr_vs_kk")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "did you mean 'snr_vs_k'" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("index", [None, "step"])
def test_a_table_that_pandas_wrote_is_read(tmp_path, run, index):
    frame = table("python", ["iwae"])
    (frame if index is None else frame[frame["K"] > 1]).to_parquet(tmp_path / "m.parquet")
    got = SNR.read(tmp_path / "m.parquet")
    assert list(got.columns) == list(SNR.columns)
    wanted = frame if index is None else frame[frame["K"] > 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(got, wanted[list(SNR.columns)], check_dtype=False)
    assert len(collect([tmp_path])["snr"]) == len(wanted)
    assert len(collect([tmp_path / "m.parquet"])["snr"]) == len(wanted)


def test_a_table_of_another_program_is_still_none(tmp_path):
    frame = table("python", ["iwae"]).drop(columns="floor")
    frame.to_parquet(tmp_path / "m.parquet")
    with pytest.raises(ResultsError, match="not a table of snrkit"):
        SNR.read(tmp_path / "m.parquet")
    table("python", ["iwae"]).assign(more=1).to_parquet(tmp_path / "m.parquet")
    with pytest.raises(ResultsError, match="not a table of snrkit"):
        SNR.read(tmp_path / "m.parquet")


@pytest.mark.slow
def test_a_run_folder_with_a_name_of_other_bytes(tmp_path, run):
    make_run(tmp_path / "runs", "run", "iwae", epochs=2).path.rename(tmp_path / "runs" / "a\udcffb")
    code, _, err = run(tmp_path / "runs", "--out", tmp_path / "out", "--figure", "training", "--html", "--quiet")
    assert (code, err) == (0, "")
    assert "a\\udcffb" in (tmp_path / "out" / "report.html").read_text()
