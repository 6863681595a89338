"""The example with GPyTorch says what plain loops of its own losses say."""

import re
import runpy
from pathlib import Path

import pytest
import torch

from tests.losses import zoo
from tests.strangers.models import pooled
from tests.support.extras import library

library("gpytorch", "gpytorch")
pytestmark = [pytest.mark.extra, pytest.mark.filterwarnings("ignore")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "gaussian_process.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def said(example):
    """What it prints, by what is before the colon: (value, standard error)."""
    lines: list[str] = []
    example["main"].__globals__["print"] = lines.append
    example["main"]()
    found = (re.fullmatch(r"(.*): (\S+) ± (\S+)", line).groups() for line in lines)
    return {name: (float(value), float(error)) for name, value, error in found}


def test_of_a_sparse_process_all_noise_is_that_of_the_batches(example, said):
    x, y = example["data"]()
    model = example["trained"](example["Sparse"], example["sparse_loss"], (x, y))

    def loss():
        chosen = torch.randint(40, (10,))
        return example["sparse_loss"](model, (x[chosen], y[chosen]))

    traces = torch.stack([part.var(dim=0).sum() for part in zoo.loop(loss, model.parameters(), 400).split(20)])
    own, own_error = float(traces.mean()), float(traces.std()) / len(traces) ** 0.5
    value, error = said["sparse, batches of 10, data_variance"]
    assert abs(value - own) < 4 * (error**2 + own_error**2) ** 0.5
    assert said["sparse, batches of 10, monte_carlo_variance"] == (0.0, 0.0)


def test_the_layers_of_a_deep_process_read_as_a_plain_loop(example, said):
    batch = example["data"]()
    model = example["trained"](example["Deep"], example["deep_loss"], batch)
    for layer in ("first", "last"):
        parameters = getattr(model, layer).parameters()
        square, own = pooled(zoo.loop(example["deep_loss"], parameters, 200, model, batch))
        value, error = said[f"deep, {layer} layer, 16 samples, pooled SNR"]
        assert abs(value - square**0.5) < 4 * (error**2 + (own / (2 * square**0.5)) ** 2) ** 0.5
        assert said[f"deep, {layer} layer, 256 samples, pooled SNR"][0] == pytest.approx(4 * value, rel=1e-3)
