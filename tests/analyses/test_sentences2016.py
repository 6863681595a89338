"""The analysis of sentences: settings that are specs, and all of it at a tiny size on a text that a grammar makes."""

import tomllib

import pytest

from analyses.common.report import Place
from analyses.sentences2016.run import ANALYSIS
from analyses.sentences2016.sections.runs import spec_for
from tests.support import text


@pytest.mark.parametrize("scale", ["cpu", "full"])
def test_settings_make_valid_specs(scale):
    settings = tomllib.loads((ANALYSIS.home / f"{scale}.toml").read_text())
    specs = {name: spec_for(settings, name, seed=1) for name in settings["runs"]}
    assert {spec.estimator.name for spec in specs.values()} == {"vae-analytic"}
    assert specs["plain"].model.options["keep"] == 1 > specs["inputless"].model.options["keep"] == 0
    assert set(settings["along"]["runs"]) <= set(specs)


@pytest.mark.slow
def test_sections_end_to_end(tmp_path):
    settings = tomllib.loads((ANALYSIS.home / "cpu.toml").read_text())
    settings["seeds"] = [0]
    settings["base"] |= {"data": {"name": "text", "path": str(text.write(tmp_path, 120))}, "epochs": 1}
    settings["model"] = {"embed": 4, "hidden": 6, "latent": 2}
    settings["evaluate"] = {"samples": 128, "points": 6}
    settings["along"] |= {"draws": 20, "points": 2}
    place = Place(tmp_path / "runs", tmp_path / "results", settings, "tiny")
    place.results.mkdir()
    found = {name: section(place) for name, section in ANALYSIS.sections.items()}
    said, table = found["collapse"]
    assert list(zip(table["run"], table["seed"], strict=True)) == [
        (name, seed) for seed in settings["seeds"] for name in settings["runs"]
    ]
    # The bound is at weight 1 however the weight grew, and no perplexity is below that of the tighter bound.
    assert (table["bound"] - (table["rec"] - table["KL"])).abs().max() < 2e-3
    assert (table["perplexity"] <= table["perplexity of bound"]).all()
    assert "The lowest perplexity is that of" in said
    _, between = found["between"]
    assert between.groupby(["run", "kind"]).size().unstack().to_numpy().tolist() == [[5, 2]] * len(settings["runs"])
    _, along = found["along"]
    assert set(along["estimator"]) == {"vae", "vae-analytic"}
    assert along.groupby("run")["epoch"].max().to_dict() == dict.fromkeys(settings["along"]["runs"], 1)
