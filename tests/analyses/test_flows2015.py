"""The analysis of flows: its densities in the plane against closed forms, and all of it at a tiny size."""

import math
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.flows2015.run import ANALYSIS
from analyses.flows2015.sections import energies
from snrkit.specs.measure import MeasureSpec
from snrkit.specs.run import RunSpec

TINY = """
[energies]
layers = [2]
starts = 2
steps = 60
samples = 64
lr = 0.05
cells = 200
portions = 4
portion = 500
[run]
data = { name = "digits", train_limit = 60 }
estimator = { name = "vae", K = 1 }
epochs = 1
batch_size = 20
eval_points = 0
[layers]
kinds = ["planar", "radial"]
layers = [2]
options = { hidden = [6], latent = 2 }
seeds = [0, 1]
samples = 128
points = 4
[snr]
seed = 0
flows = ["none", "planar 2", "radial 2"]
[snr.measure]
estimators = ["iwae", "dreg"]
mean_from = "dreg"
K = [1, 3, 10]
draws = 8
blocks = ["inference"]
data_points = 2
"""


def test_the_constant_of_a_normal():
    def energy(z):
        return 0.5 * (z / torch.tensor([0.5, 0.8], dtype=z.dtype)).square().sum(-1)

    assert energies.log_z(energy, 400) == pytest.approx(math.log(2 * math.pi * 0.5 * 0.8), abs=1e-9)


def test_the_energies_by_hand():
    """At points where they are a few terms: the ring at (2, 0), the bands on their lines."""
    z = torch.tensor([[2.0, 0.0], [1.0, 1.0], [1.0, -2.0], [-3.0, 1.0], [5.0, 1.0]], dtype=torch.float64)
    ring, wave, fork, step = (energy(z) for energy in energies.ENERGIES.values())
    assert float(ring[0]) == pytest.approx(-math.log1p(math.exp(-0.5 * (4 / 0.6) ** 2)))
    assert float(wave[1]) == pytest.approx(0)
    assert float(wave[4]) == pytest.approx(0.5 * (1 / 0.4) ** 2)  # on the line, behind the wall
    assert float(fork[2]) == pytest.approx(-math.log1p(math.exp(-0.5 * (3 / 0.35) ** 2)))
    assert float(step[2]) == pytest.approx(
        -math.log(math.exp(-0.5 * (3 / 0.4) ** 2) + math.exp(-0.5 * (1.5 / 0.35) ** 2))
    )
    assert float(step[3]) == pytest.approx(-math.log(2), abs=1e-4)


@pytest.mark.parametrize("scale", ["cpu", "full"])
def test_settings_make_valid_specs(scale):
    settings = tomllib.loads((ANALYSIS.home / f"{scale}.toml").read_text())
    model = {"name": "flow", "options": settings["layers"]["options"] | {"kind": "radial", "layers": 2}}
    assert RunSpec.parse(settings["run"] | {"model": model}, "the settings").model.name == "flow"
    assert MeasureSpec(**settings["snr"]["measure"]).mean_from == "dreg"


@pytest.mark.slow
def test_from_settings_to_results(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    ANALYSIS.main(["--settings", str(tmp_path / "tiny.toml"), "--out", str(tmp_path)])
    results = tmp_path / "results" / "tiny"
    plane = pd.read_csv(results / "energies.csv")
    assert list(plane.columns[:2]) == ["energy", "layers"]
    assert len(plane) == 4 * 3
    assert (plane["KL, best"] > -4 * plane["KL, best se"]).all()
    assert (plane["KL, worst"] >= plane["KL, best"]).all()
    layers = pd.read_csv(results / "layers.csv")
    seeds = pd.read_csv(results / "layers_seeds.csv").groupby("layers")["log p̂"].mean()
    np.testing.assert_allclose(layers["log p̂"], seeds[layers.layers])
    np.testing.assert_allclose(layers["gain in log p̂"][1:], layers["log p̂"][1:] - layers["log p̂"][0])
    assert set(layers["log p̂ rises"][1:]) <= {"holds", "does not hold", "undecided"}
    assert len(pd.read_csv(results / "snr_slopes.csv")) == 3 * 2
    for picture in ("energies.png", "snr.png", "snr.csv"):
        assert (results / picture).exists()
