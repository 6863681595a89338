"""The DRAW analysis at a tiny size, and that the gradients of steps with copies of their own add up to the shared one's."""

import tomllib

import pytest
import torch

from analyses.common.report import Place
from analyses.common.runs import spec_of
from analyses.draw2015.run import ANALYSIS
from analyses.draw2015.sections import snr
from snrkit.estimators.base import build_estimator
from snrkit.models.base import parameters_of
from tests.models.test_attentive import PIXELS, small
from tests.zoo import B, K, M, images, numbers

SIZES = {"steps": 2, "hidden": 4, "latent": 2}


@pytest.mark.parametrize("scale", ["cpu", "full"])
def test_settings_make_valid_specs(scale):
    settings = tomllib.loads((ANALYSIS.home / f"{scale}.toml").read_text())
    for model in settings["models"].values():
        assert spec_of(settings["base"], {"model": model}, 1).estimator.name == "vae-analytic"
    assert settings["models"]["attention"]["options"]["read"] > 0 == settings["models"]["plain"]["options"]["read"]


def test_gradients_of_the_steps_add_up():
    model, x, noise = small(), images(pixels=PIXELS), numbers(1, B, M, K, 6)
    apart = snr.Apart(model)
    found = {}
    for own in (model, apart):
        weights = own(x, noise)
        bound = build_estimator("iwae", {}).bound(weights.log_w).mean()
        named = parameters_of(own)
        found[own] = (weights.log_w, dict(zip(named, torch.autograd.grad(bound, list(named.values())), strict=True)))
    torch.testing.assert_close(found[model][0], found[apart][0])
    for name, shared in found[model][1].items():
        copies = [found[apart][1].get(f"step.{step}.{name}", torch.zeros_like(shared)) for step in range(3)]
        expected = found[apart][1].get(name, sum(copies))
        torch.testing.assert_close(shared, expected)
    assert set(apart.networks(x).values()) == {"inference", "generative"}


@pytest.mark.slow
def test_sections_end_to_end(tmp_path):
    settings = tomllib.loads((ANALYSIS.home / "cpu.toml").read_text())
    settings["seeds"] = [0, 1]
    settings["base"] |= {"epochs": 1, "eval_points": 0}
    settings["base"]["data"] |= {"train_limit": 100}
    for model in settings["models"].values():
        model["options"] |= SIZES
    settings["evaluate"] = {"samples": 128, "points": 4}
    settings["canvases"]["points"] = 2
    settings["snr"] |= {"K": [2], "points": 2, "draws": 20}
    place = Place(tmp_path / "runs", tmp_path / "results", settings, "tiny")
    place.results.mkdir()
    tables = {name: section(place) for name, section in ANALYSIS.sections.items()}
    assert len(tables["bounds"][1]["_runs"]) == 4
    assert "nats, paired by seed" in tables["bounds"][0]
    assert tables["steps"][1][""].groupby("model")["step"].apply(list).to_dict() == {
        "attention": [1, 2],
        "plain": [1, 2],
    }
    assert (tables["steps"][1][""]["KL"] > 0).all()
    assert len(list(place.results.glob("canvases-*.png"))) == 2
    assert len(tables["snr"][1][""]) == 2 * 3 * 2
