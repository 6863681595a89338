"""The report as a whole: files, sidecars, identical bytes, one-line errors, no torch."""

import json
import shutil
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from snrkit.cli.main import main
from snrkit.errors import OutputError, ResultsError
from snrkit.report.build import build
from snrkit.report.collect import collect
from snrkit.results import arrow_schema

from .conftest import table

FILES = [
    *(
        f"{figure}.{ending}"
        for figure in ("snr_vs_k", "training")
        for ending in ("pdf", "svg", "png", "csv", "meta.json")
    ),
    *(f"evaluation.{ending}" for ending in ("csv", "md", "tex", "meta.json")),
]


@pytest.fixture
def run(capsys):
    def call(*argv):
        code = 0
        try:
            main(["report", *map(str, argv)])
        except SystemExit as exit_:
            code = exit_.code
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_files_and_sidecar(runs, tmp_path):
    out = tmp_path / "figures"
    written = build([runs], out, ["snrkit", "report"])
    assert [path.name for path in written] == FILES
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    sidecar = json.loads((out / "snr_vs_k.meta.json").read_text())
    assert sidecar["command"] == ["snrkit", "report"]
    assert [len(source["sha256"]) for source in sidecar["inputs"]] == [64, 64]
    assert "Hollow markers" in sidecar["caption"]
    assert b"/FontType 42" in (out / "snr_vs_k.pdf").read_bytes() or b"/Type0" in (out / "snr_vs_k.pdf").read_bytes()


def test_second_run_gives_the_same_bytes(runs, tmp_path):
    first = build([runs], tmp_path / "a", ["x"])
    # Dates in the formats have seconds.
    time.sleep(1.1)
    second = build([runs], tmp_path / "b", ["x"])
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_users_matplotlib_settings_do_not_matter(runs, tmp_path):
    import matplotlib as mpl

    first = build([runs], tmp_path / "a", ["x"])
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        second = build([runs], tmp_path / "b", ["x"])
        assert mpl.rcParams["font.size"] == 20
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_command_prints_files(runs, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.rename("checkpoints")
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"figures/{name}" for name in FILES]
    code, out, _ = run("checkpoints/demo-vae", "--json", "--out", "other")
    assert json.loads(out)["written"][0] == "other/snr_vs_k.pdf"


def test_missing_data_is_said_in_a_line_each(one_table, tmp_path, run):
    path = one_table(table("demo", ["iwae"]))
    code, out, err = run(path, "--out", tmp_path / "figures")
    assert code == 0
    assert len(out.splitlines()) == 5
    assert [line.split(":")[0] for line in err.splitlines()] == ["training", "evaluation"]
    assert "run 'snrkit train'" in err
    assert run(path, "--quiet", "--out", tmp_path / "figures")[2] == ""


def test_same_run_given_twice_counts_once(runs):
    found = collect([runs, runs / "demo-vae", runs / "." / "demo-vae"])
    assert [run.files.name for run in found.runs] == ["demo-vae", "demo_iwae"]
    assert len(collect([runs, runs / "demo-vae" / "snr.parquet"]).readings) == len(collect([runs]).readings)


def test_own_output_is_not_taken_for_a_run(runs):
    build([runs], runs / "figures", ["x"])
    assert len(collect([runs]).runs) == 2


def one_line(result):
    code, out, err = result
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    return err


def test_nothing_found(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "checkpoints" in one_line(run())
    assert "snrkit train" in one_line(run(tmp_path))
    (tmp_path / "notes.txt").write_text("")
    assert "no .parquet table" in one_line(run("notes.txt"))


def test_run_with_nothing_yet(runs):
    for path in (runs / "demo-vae").iterdir():
        if path.name != "status.json":
            path.unlink()
    with pytest.raises(ResultsError, match="nothing to show yet"):
        build([runs / "demo-vae"], runs / "figures", ["x"])


def test_damaged_files_are_named(runs, run):
    shutil.copytree(runs / "demo-vae", runs / "whole")
    for name, content, words in [
        ("snr.parquet", "rubbish", "not a readable Parquet file"),
        ("evaluation.json", "{", "cannot be read"),
        ("evaluation.json", "{}", "not an evaluation"),
        ("evaluation.json", '{"schema": 99}', "newer"),
        ("config.toml", "epochs = -1", "epochs"),
        ("metrics.jsonl", "{\n{}\n", "line 1"),
    ]:
        path = runs / "demo-vae" / name
        path.write_text(content)
        assert words in one_line(run(runs / "demo-vae", "--out", runs / "figures")), name
        shutil.copy(runs / "whole" / name, path)


def test_newer_schema(one_table, run):
    path = one_table(table("demo", ["iwae"]))
    newer = pq.read_table(path).replace_schema_metadata({"snrkit_schema": "99"})
    assert newer.schema.names == arrow_schema().names
    pq.write_table(newer, path)
    assert "schema 99 is newer" in one_line(run(path, "--out", path.parent / "figures"))


def test_output_in_the_way(runs, tmp_path):
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(OutputError):
        build([runs], tmp_path / "figures", ["x"])


def test_no_torch_is_loaded(runs, tmp_path):
    code = (
        "import sys; from pathlib import Path; import snrkit.cli.report; from snrkit.report.build import build\n"
        f"build([Path({str(runs)!r})], Path({str(tmp_path / 'out')!r}), ['x'])\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
