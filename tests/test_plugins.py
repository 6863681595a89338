"""The package of ``examples/``, installed and used from data to report."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from snrkit.cli.main import main
from snrkit.cli.settings import of_training
from snrkit.data import SOURCES
from snrkit.diagnostics.measure import measure
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import build_estimator
from snrkit.models import MODELS
from snrkit.registry import plugins
from snrkit.report.figures import FIGURES
from snrkit.runs.metrics import METRICS
from tests.support.plugin import install
from tests.support.rates import mistaken
from tests.zoo import toy

EXAMPLE = Path(__file__).parents[1] / "examples" / "snrkit-example-plugin"
TRAIN = [
    "train", "--data", "bars", "--estimator", "tempered", "--option", "power=0.7", "--K", "8", "--epochs", "1",
    "--batch-size", "20", "--set", "model.name=linear", "--set", "data.size=40",
]  # fmt: skip


@pytest.fixture
def example(site):
    """The example's files and entry points, as an installer leaves them."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    install(site, project["name"], project["version"], project["entry-points"])
    shutil.copytree(EXAMPLE / "snrkit_example", site / "snrkit_example", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def test_every_kind_of_thing_is_found(example):
    names = "tempered", "linear", "bars", "share_above_noise", "strength"
    for registry, name in zip((ESTIMATORS, MODELS, SOURCES, METRICS, FIGURES), names, strict=True):
        assert registry.names[-1] == name
        registry.load(name)
    rows = {row["setting"]: row for row in of_training() if row["of"] in ("tempered", "linear")}
    assert rows["estimator.options.power"]["meaning"].startswith("p in (0, 1)")
    assert rows["model.options.latent"]["values"] == "integer >= 1"


def test_the_examples_theory_is_right(example):
    for power in (0.3, 0.7):
        tempered = build_estimator("tempered", {"power": power})
        assert mistaken(tempered, tempered.theory) == []


def test_a_run_of_another_package_is_trained_and_measured(example, tmp_path, capsys):
    run = tmp_path / "run"
    main([*TRAIN, "--out", str(run), "--quiet"])
    assert json.loads((run / "env.json").read_text())["plugins"] == {"snrkit-example-plugin": "0.1.0"}
    main(f"snr --ckpt {run} --K 1,9 --draws 40 --quiet".split())
    assert "tempered (power=0.7)" in capsys.readouterr().out
    table = pd.read_parquet(run / "snr.parquet")
    share = table[(table.metric == "share_above_noise") & (table.block == "generative")]
    assert list(share.K) == [1, 9]
    assert share.value.between(0, 1).all()
    assert share.definition.str.contains("more than 2 standard errors").all()


def test_without_the_package_its_run_says_what_is_missing(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([*TRAIN, "--out", str(tmp_path / "run")])
    assert "unknown data 'bars'" in capsys.readouterr().err


@pytest.mark.slow
def test_installed_by_pip_it_is_used_from_data_to_report(tmp_path):
    """In processes of its own; a figure whose source changes is drawn again, and what pip leaves is enough to find it."""
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(EXAMPLE, source)
    pip = [
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--target",
        str(site),
        str(source),
    ]
    subprocess.run([sys.executable, "-m", *pip], check=True, capture_output=True)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH"), str(EXAMPLE.parents[1])])])

    def call(*words):
        command = [sys.executable, "-m", "snrkit", *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}
        ).stdout

    call(*TRAIN, "--out", "run")
    call(*["snr", "--ckpt", "run", "--estimator", "tempered,iwae", "--K", "1,3,9", "--draws", "40"])
    report = ["report", "run", "--out", "figures", "--html", "--json", "--figure", "strength", "--figure", "snr_vs_k"]
    first = json.loads(call(*report))
    assert "strength" in first["drawn"]
    assert (
        json.loads((tmp_path / "figures" / "strength.meta.json").read_text())["versions"]["snrkit-example-plugin"]
        == "0.1.0"
    )
    page = (tmp_path / "figures" / "report.html").read_text()
    assert "Strength of the signal" in page
    assert "tempered (power = 0.7)" in page
    assert json.loads(call(*report)) == first | {"drawn": []}
    figure = site / "snrkit_example" / "figure.py"
    figure.write_text(figure.read_text().replace("Strength of the signal", "How strong the signal is"))
    assert "strength" in json.loads(call(*report))["drawn"]
    assert "How strong the signal is" in (tmp_path / "figures" / "report.html").read_text()


def test_a_process_without_plugins_has_none():
    assert plugins() == []


def test_an_engine_of_another_package_draws(site):
    """It gives what the loop gives, and the table says that it served."""
    source = (
        "from snrkit.diagnostics.engines.loop import LoopEngine\n\n\nclass Patient(LoopEngine):\n    name = 'patient'\n"
    )
    install(site, "patience", "1.0", {"snrkit.engines": {"patient": "patience:Patient"}}, patience=source)
    model, x = toy()
    ours, loops = (measure(model, x, ["iwae"], K=[1, 2], draws=8, seed=0, engine=name) for name in ("patient", "loop"))
    assert set(ours["engine"]) == {"patient"}
    pd.testing.assert_series_equal(ours["value"], loops["value"])
