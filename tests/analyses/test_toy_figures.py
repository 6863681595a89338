"""The toy's closed-form draws are the gradients that the engines compute, and make the tables that the report draws."""

import numpy as np
import pytest
import torch

from analyses.toy.sections import figures
from snrkit.estimators.base import build_estimator
from snrkit.report.collect import collect
from tests.support.gradients import gradients

SETTINGS = {
    "dim": 3, "points": 7, "perturb": 0.1, "seed": 0,
    "figures": {"K": [1, 3, 10], "kept": [1, 3], "M": [1, 2], "draws": 80, "coordinate": 1, "threads": 1},
}  # fmt: skip


@pytest.fixture
def section(monkeypatch, tmp_path):
    monkeypatch.setattr(figures, "HERE", tmp_path)
    return figures


def test_closed_form_is_the_gradient(section):
    model, x = section.toy(SETTINGS, 0.1, 0)
    noise = torch.randn(7, 1, 5, 3, generator=torch.Generator().manual_seed(1))
    generative, inference = gradients(build_estimator("iwae", {}), model(x, noise), [model.mu], [model.A, model.b])
    expected = np.concatenate([g.numpy().ravel() for g in (*inference, *generative)])
    data, mu, m = section._known(model, x)
    found = section.gradient(model, x, section.point_sums(data + mu - 2 * m, noise[:, 0].numpy()))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_tables_can_be_drawn_and_a_second_call_draws_nothing(section, monkeypatch):
    _, table = section.run(SETTINGS)
    found = collect([section.HERE / "results"])
    assert set(found["snr"]["metric"]) >= {"snr_mean", "snr_pooled", "dsnr", "variance"}
    assert set(found["draws"]["coordinate"]) == {"b[1]", "mu[1]"}
    assert len(found["draws"]) == 80 * 2 * 2
    assert set(found["slopes"]["block"]) == {"inference", "generative"}
    own = found["draws"].query("coordinate == 'mu[1]' and K == 3")["value"]
    assert own.std() > 0
    monkeypatch.setattr(section, "_draw", None)
    again = section.run(SETTINGS)[1]
    assert again.equals(table)
