"""The analysis of the convolutional model: equal sizes, and all of it at a tiny size."""

import tomllib

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.conv.run import ANALYSIS, _moved
from snrkit.models.base import build_model
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec

TINY = """
[run]
data = { name = "digits", train_limit = 60 }
epochs = 1
batch_size = 20
eval_points = 0
optimiser = { lr = 0.003 }
[models.mlp]
name = "mlp"
options = { hidden = [6], latent = 2 }
[models.conv]
name = "conv"
options = { channels = [2], kernel = 3, hidden = 4, latent = 2 }
[comparison]
K = [1]
seeds = [0, 1]
estimator = { name = "iwae" }
samples = 128
points = 4
[shifted]
K = 1
points = 3
samples = 128
[reconstructions]
K = 1
points = 3
samples = 1
k = 2
shown = 2
"""


@pytest.mark.parametrize(("scale", "side"), [("cpu", 8), ("full", 28)])
def test_both_models_have_as_many_parameters(scale, side):
    summary = DataSummary(torch.zeros(side * side), real=False, image_shape=(side, side))
    models = tomllib.loads((ANALYSIS.home / f"{scale}.toml").read_text())["models"]
    one, other = (
        sum(parameter.numel() for parameter in build_model(ModelSpec(**models[name]), summary, 0).parameters())
        for name in ("mlp", "conv")
    )
    assert one == pytest.approx(other, rel=2e-3)


def test_a_moved_image():
    image = torch.arange(1.0, 7).view(1, 2, 3)
    assert _moved(image, 2, 1).tolist() == [[[0, 1, 2], [0, 4, 5]]]
    assert _moved(image, 1, -1).tolist() == [[[4, 5, 6], [0, 0, 0]]]
    assert image[0, 0, 0] == 1


@pytest.mark.slow
def test_from_settings_to_results(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    ANALYSIS.main(["--settings", str(tmp_path / "tiny.toml"), "--out", str(tmp_path)])
    results = tmp_path / "results" / "tiny"
    table = pd.read_csv(results / "comparison.csv")
    assert list(table.metric) == ["bound", "log p̂"]
    np.testing.assert_allclose(table["conv less mlp"], table.conv - table.mlp)
    assert (table.iloc[1][["mlp", "conv"]] > table.iloc[0][["mlp", "conv"]]).all()
    shifted = pd.read_csv(results / "shifted.csv")
    np.testing.assert_allclose(shifted.lost, shifted["as they are"] - shifted.moved)
    assert (results / "reconstructions.png").exists()
