"""What runs are called: settings that differ, never a hash and never a path, unless their user says otherwise."""

import re
import shutil

import pandas as pd
import pytest

import snrkit
from snrkit import plot
from snrkit.errors import SpecError
from snrkit.report.chosen import Chosen
from snrkit.report.collect import collect
from snrkit.report.naming import names, plain
from snrkit.report.style import look_of
from snrkit.report.width import inches
from snrkit.specs.run import EstimatorSpec, OptimiserSpec, RunSpec
from tests.support.results import make_run, table

pytestmark = pytest.mark.usefixtures("svg_alone")

HASH = re.compile(r"[0-9a-f]{10}")


@pytest.fixture
def sweep(tmp_path):
    """Runs as a sweep names them: two seeds of IWAE, an IWAE with another rate, a VAE."""
    made = {"1": ("iwae", 0, 1e-3), "2": ("iwae", 1, 1e-3), "3": ("iwae", 0, 5e-4), "4": ("vae", 0, 1e-3)}
    for digit, (estimator, seed, rate) in made.items():
        files = make_run(tmp_path / "runs", f"digits-{estimator}-M1-K64-seed{seed}-{10 * digit}", estimator, 3)
        spec = RunSpec(estimator=EstimatorSpec(name=estimator, M=1, K=64), seed=seed, optimiser=OptimiserSpec(lr=rate))
        files.config.write_text(spec.to_toml())
    return tmp_path / "runs"


def test_lines_are_called_by_the_settings_that_differ(sweep, tmp_path, run):
    out = tmp_path / "out"
    assert run(sweep, "--out", out, "--figure", "training", "--figure", "snr_vs_k", "--quiet")[0] == 0
    for name in ("training", "snr_vs_k"):
        found = set(pd.read_csv(out / f"{name}.csv")["line"])
        assert found == {"VAE", "IWAE", "IWAE, optimiser.lr = 0.0005"}
    printed = (
        (out / "evaluation.md").read_text() + (out / "evaluation.tex").read_text() + (out / "gradients.md").read_text()
    )
    assert not HASH.search(printed)
    assert str(tmp_path) not in printed


def test_what_differs_is_named_and_the_hash_never(sweep):
    tables = collect([sweep])
    for kind in ("metrics", "evaluations", "snr"):
        called = set(tables[kind]["called"])
        assert called == {"VAE", "IWAE, optimiser.lr = 0.0005", "IWAE, seed 0", "IWAE, seed 1"}


def test_runs_that_were_trained_for_longer_are_called_so(sweep, tmp_path, run):
    longer = sweep / "longer"
    shutil.copytree(next(sweep.glob("digits-vae*")), longer)
    config, metrics = longer / "config.toml", longer / "metrics.jsonl"
    config.write_text(RunSpec.from_toml(config.read_text(), "").model_copy(update={"epochs": 7}).to_toml())
    metrics.write_text(metrics.read_text().replace('"bound": -', '"bound": -1'))
    out = tmp_path / "out"
    assert run(sweep, "--out", out, "--figure", "training", "--quiet")[0] == 0
    found = set(pd.read_csv(out / "training.csv")["line"])
    assert {"VAE, 7 epochs"} < found
    assert not any(name.endswith(")") for name in found)


def test_runs_that_differ_in_nothing_are_numbered():
    keys = [{"estimator": "iwae", "options": "", "run": f"digits-iwae-{digit * 10}", "rest": ""} for digit in "12"]
    assert names(keys, ["run"]) != [plain(key["run"]) for key in keys]
    assert names(keys, []) == ["IWAE (1)", "IWAE (2)"]


@pytest.mark.parametrize(
    ("run", "short"),
    [("mnist-iwae-6d00ce5b7b-13", "mnist-iwae"), ("mnist-iwae-M1-K64-seed0-6d00ce5b7b", "mnist-iwae-M1-K64-seed0"),
     ("mine", "mine"), ("decade-facade", "decade-facade"), ("-0123456789", "-0123456789")],
)  # fmt: skip
def test_a_name_without_its_hash(run, short):
    assert plain(run) == short


def test_the_user_says_what_runs_are_called(sweep, tmp_path, run):
    out = tmp_path / "out"
    words = ["--label", "digits-vae*=baseline", "--label", f"{sweep}/digits-iwae-M1-K64-seed0-{10 * '3'}=slow & steady"]
    assert run(sweep, "--out", out, "--figure", "training", "--quiet", *words)[0] == 0
    assert {"baseline", "slow & steady"} < set(pd.read_csv(out / "training.csv")["line"])
    assert r"slow \& steady" in (out / "evaluation.tex").read_text()
    assert "| baseline | VAE, M = 1, K = 64 |" in (out / "evaluation.md").read_text()


def test_a_run_and_its_name_may_have_an_equals_sign(sweep, tmp_path, run):
    folders = ("lr=0.1,h=[16]", "lr=0.2,warm", "lr=0.3,h=[16]", "lr=0.4")
    for folder, new in zip(sorted(sweep.iterdir()), folders, strict=True):
        folder.rename(sweep / new)
    labels = ("lr=0.1,h=[16]=β = 0.5", "lr=0.2*=warm=hot", f"{sweep}/lr=0.3,h=[16]=x", "lr?0.4*=y")
    # Else two of them are seeds of one setting, which has one name.
    for number, config in enumerate(sorted(sweep.glob("*/config.toml"))):
        spec = RunSpec.from_toml(config.read_text(), "")
        config.write_text(spec.model_copy(update={"seed": 0, "epochs": 100 + number}).to_toml())
    words = [word for label in labels for word in ("--label", label)]
    assert run(sweep, "--out", tmp_path / "out", "--figure", "training", "--quiet", *words)[0] == 0
    assert set(pd.read_csv(tmp_path / "out" / "training.csv")["line"]) == {"β = 0.5", "warm=hot", "x", "y"}


def test_a_label_that_may_be_of_two_runs_is_refused(sweep, tmp_path, run):
    for old, new in (("digits-vae*", "lr"), ("*seed1*", "lr=0.1")):
        next(sweep.glob(old)).rename(sweep / new)
    code, _, err = run(sweep, "--out", tmp_path / "out", "--figure", "training", "--label", "lr=0.1=x")
    assert (code, err.count("\n")) == (2, 1)
    assert "label: 'lr=0.1=x' may be of 'lr' or 'lr=0.1'; write ? for every = in the run's name" in err


def test_one_run_measured_with_several_estimators_keeps_them_apart(tmp_path):
    make_run(tmp_path, "mine", "iwae", 2, measured=["vae", "iwae"])
    tables = collect([tmp_path], Chosen.of({"mine": "ours"}, (), None))
    keys = [own.iloc[0] for _, own in tables["snr"].groupby("estimator")]
    assert names(keys, ["K"]) == ["ours, IWAE", "ours, VAE"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "iwae"], "label: 'iwae' has no =; write RUN=NAME"),
        (["--label", "=x"], "label: '=x' lacks a run or a name"),
        (["--label", "digits-vae*="], "label: 'digits-vae*=' lacks a run or a name"),
        (["--label", "vea*=x"], "label: no run is called 'vea*'; runs here: digits-iwae"),
        (["--label", "a=x", "--label", "a=y"], "label: 'a' is given two names; give one"),
        (["--label", "*seed0-1*=x", "--label", "*seed1-2*=y"], "'x' and 'y' are seeds of one setting, which is"),
        (["--metrics", "log_q"], "metrics: nothing has the metric 'log_q'; did you mean 'log_p'? there are iwae_64"),
        (["--column", "0.2in"], "column: 0.2in is 0.2 inches wide; give at least 1.5in"),
        (["--column", "84"], "column: no page is called '84'; choose from icml"),
        (["--column", "-3in"], "column: no page is called '-3in'"),
        (["--baseline", " "], "baseline: is empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_in_a_line(sweep, tmp_path, run, words, message):
    code, _, err = run(sweep, "--out", tmp_path / "out", "--figure", "training", *words)
    assert (code, err.count("\n")) == (2, 1)
    assert message in err


@pytest.mark.slow
def test_only_the_metrics_asked_for(sweep, tmp_path, run):
    out = tmp_path / "out"
    assert run(sweep, "--out", out, "--metrics", "iwae_64,snr_mean", "--quiet")[0] == 0
    assert (out / "evaluation.md").read_text().splitlines()[0] == "| trained with | data | seeds | IWAE-64 |"
    assert set(pd.read_csv(out / "training.csv")["metric"]) == {"iwae_64"}
    assert {path.stem for path in out.glob("*.svg")} == {"training", "snr_vs_k"}


@pytest.mark.parametrize(
    ("column", "width", "family"),
    [("3.3in", 3.3, "icml"), ("84mm", 84 / 25.4, "icml"), ("8.4cm", 8.4 / 2.54, "icml"), ("252 pt", 252 / 72.27, "icml"),
     ("6in", 6.0, "neurips"), ("12in", 12.0, "slide")],
)  # fmt: skip
def test_a_width_has_the_look_of_the_page_of_its_kind(column, width, family):
    look = look_of(column)
    assert look.column == pytest.approx(width)
    assert (look.font, look.family, look.line) == (look_of(family).font, look_of(family).family, look_of(family).line)


def test_a_figure_is_as_wide_as_asked(sweep, tmp_path, run):
    assert run(sweep, "--out", tmp_path / "out", "--figure", "training", "--column", "3.3in", "--quiet")[0] == 0
    svg = (tmp_path / "out" / "training.svg").read_text()
    assert float(re.search(r'<svg\b[^>]*?width="([0-9.]+)pt"', svg)[1]) == pytest.approx(3.3 * 72, abs=0.01)
    assert plot.snr_vs_k(table("demo", ["iwae"]), column="100mm").figure.get_figwidth() == pytest.approx(100 / 25.4)
    with pytest.raises(SpecError, match="column: no page is called '3 feet'"):
        inches("3 feet")


def test_names_of_tables_in_python_are_told(tmp_path):
    tables = {name: table("a", ["iwae"]).assign(run="python") for name in ("before", "after")}
    made = snrkit.report(
        tables, tmp_path / "out", figures=["snr_vs_k"], labels={"after": "after a change"}, page=False
    )  # fmt: skip
    assert made.drawn
    assert set(pd.read_csv(tmp_path / "out" / "snr_vs_k.csv")["line"]) == {"IWAE, before", "after a change"}
    shutil.rmtree(tmp_path / "out")
