"""The report as a whole: files, sidecars, identical bytes, one-line errors, no torch."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from snrkit.errors import OutputError, ResultsError
from snrkit.report.build import build
from snrkit.report.collect import collect
from snrkit.report.figures import FIGURES
from snrkit.report.save import Destination
from snrkit.report.style import COLUMNS
from snrkit.report.trained import trained
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.options import LearntOption
from snrkit.specs.run import RunSpec
from tests.support.results import table

pytestmark = pytest.mark.slow

SHOWN, SHEETS = ("training", "active_units", "snr_vs_k"), ("evaluation", "gradients")
FILES = [
    *(f"{figure}.{ending}" for figure in SHOWN for ending in ("csv", "pdf", "png", "svg", "meta.json")),
    *(f"{sheet}.{ending}" for sheet in SHEETS for ending in ("csv", "md", "tex", "meta.json")),
]


def to(folder, column="icml", command=("x",)):
    return Destination(folder, command, COLUMNS[column])


def test_files_and_sidecar(runs, tmp_path):
    out = tmp_path / "figures"
    report = build([runs], to(out, command=("snrkit", "report")))
    assert build([runs], to(out, command=("snrkit", "report"))).files == report.files
    assert [path.name for path in report.files] == FILES
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    sidecar = json.loads((out / "snr_vs_k.meta.json").read_text())
    assert sidecar["command"] == ["snrkit", "report"]
    assert [len(source["sha256"]) for source in sidecar["inputs"]] == [64, 64, 64, 64]  # tables and configurations
    assert "Hollow markers" in sidecar["caption"]
    assert set(sidecar["versions"]) > {"matplotlib", "python", "snrkit"}


def test_fonts_are_embedded_as_truetype(runs, tmp_path):
    build([runs], to(tmp_path))
    pdf = (tmp_path / "snr_vs_k.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert b"<text" not in (tmp_path / "snr_vs_k.svg").read_bytes()


def test_second_run_gives_the_same_bytes(runs, tmp_path):
    first = build([runs], to(tmp_path / "a")).files
    # Dates in the formats have seconds.
    time.sleep(1.1)
    second = build([runs], to(tmp_path / "b")).files
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_only_what_changed_is_drawn_again(runs, tmp_path):
    assert set(build([runs], to(tmp_path)).drawn) == {*SHOWN, *SHEETS}
    assert build([runs], to(tmp_path)).drawn == []
    metrics = runs / "demo-vae" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace("-", "-1", 1))
    assert build([runs], to(tmp_path)).drawn == ["training"]
    (tmp_path / "snr_vs_k.png").unlink()
    (tmp_path / "evaluation.md").write_text("touched")
    (tmp_path / "active_units.meta.json").write_text("{")
    assert set(build([runs], to(tmp_path)).drawn) == {"active_units", "snr_vs_k", "evaluation"}
    assert set(build([runs], to(tmp_path, "slide")).drawn) == {*SHOWN, *SHEETS}


def test_users_matplotlib_settings_do_not_matter(runs, tmp_path):
    import matplotlib as mpl

    first = build([runs], to(tmp_path / "a")).files
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        second = build([runs], to(tmp_path / "b")).files
        assert mpl.rcParams["font.size"] == 20
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_command_prints_files(runs, tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs.rename("checkpoints")
    code, out, err = run("--quiet")
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"figures/{name}" for name in FILES]
    code, out, _ = run("checkpoints/demo-vae", "--json", "--out", "other", "--html")
    found = json.loads(out)
    assert (found["written"][0], found["written"][-1]) == ("other/training.csv", "other/report.html")
    assert run("checkpoints/demo-vae", "--column", "poster")[0] == 2


def test_only_the_figures_asked_for(runs, tmp_path, run):
    code, out, _ = run(runs, "--out", tmp_path / "f", "--figure", "snr_vs_k", "--quiet")
    assert code == 0
    assert {Path(line).name.split(".")[0] for line in out.split()} == {"snr_vs_k", *SHEETS}
    code, _, err = run(runs, "--figure", "snr_vs_x")
    assert code == 2
    assert "snr_vs_x" in err


def test_a_learnt_beta_is_part_of_what_was_trained(runs):
    config = next(runs.rglob("config.toml"))
    spec = RunSpec.from_toml(config.read_text(), str(config))

    def told(beta):
        estimator = spec.estimator.model_copy(update={"name": "ciwae", "options": {"beta": beta}})
        config.write_text(spec.model_copy(update={"estimator": estimator}).to_toml())
        found = trained(config.parent / "evaluation.json")
        return found["options"], found["rest"].removeprefix(plain).removeprefix("; ")

    plain = trained(config.parent / "evaluation.json")["rest"]
    assert told(LearntOption(learn="bounded", start=0.3)) == ("beta=0.3, learnt bounded", "")
    assert told(LearntOption(learn="free", lr=0.1)) == (", learnt free", "estimator.options.beta.lr=0.1")
    assert told([0.7, 0.2]) == ("", "estimator.options.beta=[0.7,0.2]")


def test_page_is_opened(runs, tmp_path, run, monkeypatch):
    opened = []
    monkeypatch.setattr("click.launch", opened.append)
    assert run(runs, "--out", tmp_path / "out", "--open", "--quiet")[0] == 0
    assert opened == [(tmp_path / "out" / "report.html").as_uri()]


def test_missing_data_is_said_in_a_line_each(one_table, tmp_path, run):
    path = one_table(table("demo", ["iwae"]))
    code, out, err = run(path, "--out", tmp_path / "figures")
    assert code == 0
    assert len(out.splitlines()) == 5 + 4
    missing = [line.split(":")[0] for line in err.splitlines()]
    assert missing == [*(name for name in FIGURES.names if name != "snr_vs_k"), "evaluation", "slopes"]
    assert "run 'snrkit train'" in err
    assert run(path, "--quiet", "--out", tmp_path / "figures")[2] == ""


def test_same_run_given_twice_counts_once(runs):
    once = collect([runs])
    again = collect([runs, runs / "demo-vae", runs / "." / "demo-vae", runs / "demo-vae" / "snr.parquet"])
    for kind in ("snr", "metrics", "evaluations"):
        assert len(again[kind]) == len(once[kind])


def test_own_output_and_foreign_tables_are_not_taken_for_results(runs):
    build([runs], to(runs / "figures"))
    pd.DataFrame({"a": [1]}).to_parquet(runs / "foreign.parquet")
    (runs / "snr.partial").mkdir()
    shutil.copy(runs / "demo-vae" / "snr.parquet", runs / "snr.partial" / "x.parquet")
    assert len([path for path in collect([runs]).inputs(["snr"]) if path.suffix == ".parquet"]) == 2
    assert collect([runs])["evaluations"]["folder"].nunique() == 2


def test_evaluations_of_kept_checkpoints_belong_to_the_run(runs):
    steps = runs / "demo-vae" / "steps"
    steps.mkdir()
    shutil.copy(runs / "demo-vae" / "evaluation.json", steps / "step-00000300.evaluation.json")
    found = collect([runs / "demo-vae"])["evaluations"]
    assert set(found["run"]) == {"demo-vae"}
    assert set(found["estimator"]) == {"vae"}


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
    assert "no results file" in one_line(run("notes.txt"))


def test_run_with_nothing_yet(runs, run):
    for path in (runs / "demo-vae").iterdir():
        if path.name != "status.json":
            path.unlink()
    with pytest.raises(ResultsError, match="nothing to show yet"):
        build([runs / "demo-vae"], to(runs / "figures"))
    assert "train, measure or evaluate first" in one_line(run(runs / "demo-vae", "--out", runs / "figures"))


def test_damaged_files_are_named(runs, run):
    shutil.copytree(runs / "demo-vae", runs / "whole")
    for name, content, words in [
        ("snr.parquet", "rubbish", "not a readable Parquet file"),
        ("snr.slopes.csv", "", "not a readable CSV"),
        ("snr.draws.parquet", "PAR1", "not a readable Parquet file"),
        ("evaluation.points.parquet", "rubbish", "not a readable Parquet file"),
        ("advice.json", "{}", "not an advice"),
        ("evaluation.json", "{", "cannot be read"),
        ("evaluation.json", "{}", "not an evaluation"),
        ("evaluation.json", '{"schema": 99}', "newer"),
        ("config.toml", "epochs = -1", "epochs"),
        ("metrics.jsonl", "{\n{}\n", "line 1"),
    ]:
        path = runs / "demo-vae" / name
        path.write_text(content)
        assert words in one_line(run(runs / "demo-vae", "--out", runs / "figures")), name
        path.unlink()
        if (runs / "whole" / name).exists():
            shutil.copy(runs / "whole" / name, path)


def test_newer_schema(one_table, run):
    path = one_table(table("demo", ["iwae"]))
    newer = pq.read_table(path).replace_schema_metadata({"snrkit_schema": "99"})
    assert newer.schema.names == list(SNR.columns)
    pq.write_table(newer, path)
    assert "schema 99 is newer" in one_line(run(path, "--out", path.parent / "figures"))


def test_output_in_the_way(runs, tmp_path):
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(OutputError):
        build([runs], to(tmp_path / "figures"))


def test_no_torch_is_loaded(runs, tmp_path):
    code = (
        "import sys; from pathlib import Path; import snrkit.cli.report; from snrkit.cli.main import main\n"
        f"main(['report', {str(runs)!r}, '--out', {str(tmp_path / 'out')!r}, '--html', '--quiet'])\n"
        "assert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
