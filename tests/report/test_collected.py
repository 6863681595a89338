"""One table of many runs: every row as its file has it, once, with the settings of its run; and a report of it is theirs."""

import json
import math
import shutil

import pandas as pd
import pytest

import snrkit
from snrkit.cli import output
from snrkit.errors import ResultsError, SpecError
from snrkit.report import collect
from snrkit.report.collected import write
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.kinds.wide import specs_in
from snrkit.specs.run import RunSpec
from tests.support.program import caller
from tests.support.tables import table

pytestmark = pytest.mark.usefixtures("svg_alone")

SPECS = [
    {"estimator": {"name": "iwae", "K": 8}, "seed": 0},
    {"estimator": {"name": "iwae", "K": 8}, "seed": 1},
    {"estimator": {"name": "ciwae", "K": 8, "options": {"beta": 0.5}}, "seed": 0, "optimiser": {"lr": 0.01}},
]
# Four settings of one estimator, two seeds each, in folders that differ in the hash alone.
ALIKE = [{"seed": seed, "optimiser": {"lr": lr}} for seed in (0, 1) for lr in (0.1, 0.2, 0.3, 0.4)]


def rows(number, name):
    """Readings against K of a run, one of them infinite."""
    each = [
        table().iloc[:1].assign(
            run=f"run-{number}", step=9, estimator=name, metric="snr_mean", block=block, K=K, value=value, stderr=0.01,
            ci_low=value - 0.02, ci_high=value + 0.02, floor=0.05, draws=100, complete=True, scope="minibatch",
            mode="evaluation", parameters=f"digest-{number}",
        )
        for block in ("inference", "generative")
        for K, value in ((1, 0.5 + number), (10, 0.3 + number))
    ]  # fmt: skip
    return pd.concat([*each, each[0].assign(metric="critical_M", value=math.inf)], ignore_index=True)


@pytest.fixture
def snrkit_(capsys):
    """The program."""
    return caller(capsys)


@pytest.fixture
def runs(tmp_path):
    """Three measured runs of two settings, and one that was not measured."""
    for number, spec in enumerate([*SPECS, {"seed": 7}]):
        run = RunDir(tmp_path / "grid" / f"run-{number}")
        run.path.mkdir(parents=True)
        run.config.write_text(RunSpec(epochs=3, **spec).to_toml())
        run.set_status("done")
        run.append_metrics({"epoch": 3, "step": 9, "bound": -number - 0.5})
        if number < 3:
            SNR.write(run.snr, rows(number, spec["estimator"]["name"]))
    return tmp_path / "grid"


def test_every_row_once_with_what_its_run_was_trained_with(runs):
    found = snrkit.collect(runs)
    assert [*found.columns[:5]] == ["run", "folder", "estimator.name", "estimator.options.beta", "optimiser.lr"]
    assert "run.seed" in found
    assert "epochs" not in found  # the same in all
    assert len(found) == 15
    own = found[found["run"] == "run-2"].iloc[0]
    assert (own["estimator.name"], own["estimator.options.beta"], own["optimiser.lr"], own["run.seed"]) == (
        "ciwae",
        0.5,
        0.01,
        0,
    )
    assert found["estimator.options.beta"].isna().sum() == 10
    pd.testing.assert_frame_equal(
        pd.DataFrame(found[found["run"] == "run-1"])[list(SNR.columns)].reset_index(drop=True),
        SNR.read(runs / "run-1" / "snr.parquet"),
    )
    assert math.isinf(found["value"].max())
    assert [remark for remark in found.attrs["remarks"] if "1 of 4 runs have no results of kind snr" in remark]


def test_all_settings(runs):
    found = snrkit.collect([runs / "run-0", runs / "run-1"], all_settings=True)
    assert (found["epochs"] == 3).all()
    assert set(found["estimator.K"]) == {8}
    assert found["data.name"].iloc[0] == "digits"


def test_other_kinds_have_their_own_columns_and_settings_of_the_same_names(runs):
    found = snrkit.collect(runs, kind="metrics")
    assert list(found["run"]) == [f"run-{number}" for number in range(4)]
    assert list(found["run.seed"]) == [0, 1, 0, 7]
    assert list(found["bound"]) == [-0.5, -1.5, -2.5, -3.5]


def test_a_copy_counts_once_and_two_runs_of_one_name_are_told_apart(runs, tmp_path):
    shutil.copytree(runs / "run-0", tmp_path / "copies" / "again")
    other = shutil.copytree(runs / "run-1", tmp_path / "other" / "run-0")
    RunDir(other).config.write_text(RunSpec(seed=5).to_toml())
    SNR.write(other / "snr.parquet", rows(1, "iwae").assign(run="run-0"))
    found = snrkit.collect([runs, tmp_path / "copies", tmp_path / "other"])
    assert len(found) == 20
    assert found.groupby("run")["folder"].nunique().max() == 1
    assert found["run"].nunique() == 4
    assert any("a copy of the run" in remark for remark in found.attrs["remarks"])
    assert not any("again" in remark for remark in found.attrs["remarks"] if "have no results" in remark)


def test_where_there_are_no_results_at_all_nothing_is_offered(runs, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(runs / "run-0" / "config.toml", bare)
    with pytest.raises(ResultsError, match=r"holds no results yet; train, measure or evaluate its runs first$"):
        snrkit.collect(bare)


@pytest.mark.parametrize("paths", [[], 3, [3], None, {}])
@pytest.mark.parametrize("ask", [snrkit.collect, lambda paths: snrkit.compare(paths, "iwae")])
def test_what_is_no_path_is_refused(ask, paths):
    with pytest.raises(
        SpecError, match=r"paths: cannot be .*; give a run directory, a folder of them or a results file"
    ):
        ask(paths)


def test_a_collected_table_of_what_is_not_drawn_says_so(tmp_path):
    evaluated = pd.DataFrame({"run": ["a"], "folder": ["a"], "metric": ["iwae_64"], "value": [-36.0]})
    evaluated.to_csv(tmp_path / "evaluations.csv", index=False)
    with pytest.raises(ResultsError, match="nothing to show yet; give the runs themselves, or a table of gradients"):
        snrkit.report(tmp_path / "evaluations.csv", tmp_path / "out")


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_what_is_written_is_what_was_collected(snrkit_, runs, tmp_path, ending):
    out = tmp_path / f"table.{ending}"
    result = snrkit_("collect", runs, "--out", out)
    assert (result.code, result.out) == (0, f"{out}: 15 rows of 3 runs\n")
    assert "1 of 4 runs have no results" in result.err
    read = pd.read_parquet(out) if ending == "parquet" else pd.read_csv(out)
    found = snrkit.collect(runs)
    assert list(read.columns) == list(found.columns)
    assert list(read["value"]) == list(found["value"])
    assert list(read["estimator.options.beta"].dropna()) == [0.5] * 5
    told = json.loads(snrkit_("collect", runs, "--out", out, "--json", "--quiet").out)
    assert (told["rows"], told["runs"], told["columns"][:2]) == (15, 3, ["run", "folder"])
    again = snrkit_("collect", out, "--out", tmp_path / "again.csv")
    assert (again.code, again.out) == (2, "")
    assert "is a table that was collected before; give the runs themselves" in again.err


@pytest.mark.slow
def test_a_report_of_the_table_is_that_of_the_runs(runs, tmp_path):
    """Runs of one setting are repetitions in both, so that the figures are alike to the byte."""
    write(snrkit.collect(runs), tmp_path / "all.parquet", "snr")
    assert {run: spec.seed for run, spec in specs_in(tmp_path / "all.parquet").items()} == {
        "run-0": 0,
        "run-1": 1,
        "run-2": 0,
    }
    drawn = []
    for given, out in ((tmp_path / "all.parquet", tmp_path / "one"), (runs, tmp_path / "other")):
        snrkit.report(given, out, figures=["snr_vs_k"], page=False)
        drawn.append((out / "snr_vs_k.csv").read_text())
    assert drawn[0] == drawn[1]
    assert len(drawn[0].splitlines()) == 1 + 2 * 2 * 2


@pytest.mark.slow
def test_settings_that_differ_in_a_hash_of_the_name_alone_are_lines_of_their_own(tmp_path):
    for number, spec in enumerate(ALIKE):
        run = RunDir(tmp_path / "grid" / f"digits-iwae-seed{spec['seed']}-{number:010x}")
        run.path.mkdir(parents=True)
        run.config.write_text(RunSpec(**spec).to_toml())
        SNR.write(run.snr, rows(number, "iwae").assign(run=run.name))
    write(snrkit.collect(tmp_path / "grid"), tmp_path / "all.parquet", "snr")
    drawn = []
    for given, out in ((tmp_path / "all.parquet", tmp_path / "one"), (tmp_path / "grid", tmp_path / "other")):
        snrkit.report(given, out, figures=["snr_vs_k"], page=False)
        drawn.append(pd.read_csv(out / "snr_vs_k.csv"))
    pd.testing.assert_frame_equal(*drawn)
    assert drawn[0]["line"].nunique() == 4
    assert set(drawn[0]["runs"]) == {2}


def test_a_table_whose_specifications_were_changed_is_refused(runs, tmp_path):
    write(snrkit.collect(runs), tmp_path / "all.parquet", "snr")
    content = (tmp_path / "all.parquet").read_bytes()
    (tmp_path / "all.parquet").write_bytes(content.replace(b'"seed": 1', b'"seed":-1'))
    with pytest.raises((ResultsError, SpecError)):
        snrkit.report(tmp_path / "all.parquet", tmp_path / "out", page=False)


def test_bad_input(snrkit_, runs, tmp_path):
    out = ["--out", tmp_path / "t.parquet"]
    snrkit_("collect", runs).refused("--out")
    snrkit_("collect", runs, "--out", tmp_path / "t.xlsx").refused("--out", "does not end in .parquet or .csv")
    snrkit_("collect", runs, *out, "--kind", "snrs").refused("kind", "did you mean 'snr'")
    snrkit_("collect", runs, *out, "--kind", "beta").refused("holds no results of kind beta", "snr, metrics")
    snrkit_("collect", tmp_path / "none", *out).refused("does not exist")
    (runs / "run-1" / "snr.parquet").write_bytes(b"junk")
    snrkit_("collect", runs, *out).refused("run-1/snr.parquet")
    assert not (tmp_path / "t.parquet").exists()


def test_rows_that_lie_in_no_run_directory_have_no_settings(runs, tmp_path):
    (tmp_path / "loose").mkdir()
    shutil.copy(runs / "run-2" / "snr.parquet", tmp_path / "loose" / "table.parquet")
    found = snrkit.collect([runs / "run-0", runs / "run-1", tmp_path / "loose"])
    assert found.loc[found["run"] == "run-2", "run.seed"].isna().all()


def test_every_file_is_read_once_and_how_far_it_is_told_with_the_time_left(snrkit_, runs, monkeypatch):
    read, own, out = [], collect.read, runs.parent
    monkeypatch.setattr(collect, "read", lambda kind, path, shaped: read.append(path) or own(kind, path, shaped))
    monkeypatch.setattr(output, "SOON_S", 0.0)
    monkeypatch.setattr(output, "PLAIN_INTERVAL_S", 0.0)
    told = {}
    for words in (
        ["collect", runs, "--out", out / "all.csv"],
        ["report", runs, "--out", out / "figures", "--metrics", "snr_mean"],
        ["runs", runs],
    ):
        read.clear()
        result = snrkit_(*words)
        assert result.code == 0
        assert len(read) == len(set(read))
        told[words[0]] = [line.partition(", ETA")[0] for line in result.err.splitlines() if "ETA" in line]
    assert told["collect"] == ["collect: 33 %", "collect: 67 %", "collect: 100 %"]
    assert told["runs"] == ["runs: 25 %", "runs: 50 %", "runs: 75 %", "runs: 100 %"]
    assert told["report"][-1] == "report: 100 %"
    assert len(told["report"]) > 10
    assert "ETA" not in snrkit_("collect", runs, "--out", out / "all.csv", "--quiet").err
