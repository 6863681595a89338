"""Exact moments at K = 1, and how variance and SNR change with K."""

from typing import Any

import numpy as np
import pandas as pd
import torch

import snrkit
from analyses.toy.sections.toy import toy
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.vmap import VmapEngine
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """Readings at each K against the closed form or the known ratio."""
    own, N = settings["closed_forms"], settings["points"]
    model, x = toy(settings, settings["perturb"], settings["seed"])
    table = snrkit.measure(model, x, ["iwae"], own["K"], draws=own["draws"], seed=settings["seed"])
    value = table.set_index(["K", "block", "metric"])
    variance = {K: N * value.loc[(K, "b", "variance"), "value"] / settings["dim"] for K in own["K"]}
    snr = {K: value.loc[(K, "b", "snr_mean"), "value"] for K in own["K"]}
    rows = [
        ("N Var_b, K = 1", variance[1], 8 / 3, "exact"),
        ("N Var_b, K = 10", variance[10], 0.334, "earlier simulation"),
        ("N Var_b, K = 100", variance[100], 0.0344, "earlier simulation"),
        ("SNR_b(10) / SNR_b(1)", snr[10] / snr[1], 0.365, "earlier simulation"),
        ("SNR_b(100) / SNR_b(1)", snr[100] / snr[1], 0.115, "earlier simulation"),
        (
            "largest z of norm of mean and trace of variance of A, b, mu at K = 1",
            _largest_z(model, x, value),
            4.0,
            "bar",
        ),
        (
            "largest deviation of g_mu from (x - mu)/2 - g_b/2, any draw, K = 1, 10, 100",
            _identity(model, x),
            0.0,
            "exact",
        ),
    ]
    text = f"## Closed forms\n\nOne instance, {own['draws']} draws, IWAE, N = {N} points. SNR_b is snr_mean of b."
    return text, pd.DataFrame(rows, columns=["quantity", "measured", "expected", "from"])


def _largest_z(model: Any, x: torch.Tensor, value: pd.DataFrame) -> float:
    """Distance from the closed form in standard errors, largest over A, b and mu."""
    exact = model.gradient_moments(x)
    z = []
    for name, (mean, _) in exact.items():
        row = value.loc[(1, name, "mean_norm")]
        z.append(abs(row["value"] - float(mean.mean(0).norm())) / row["stderr"])
        row = value.loc[(1, name, "variance")]
        true = float(exact[name][1].sum() / len(x) ** 2)
        z.append(abs(row["value"] - true) / row["stderr"])
    return float(np.max(z))


def _identity(model: Any, x: torch.Tensor) -> float:
    worst, some = 0.0, x[:64]
    for K in (1, 10, 100):
        problem = Problem.units(model, some, K, Streams(1))
        size, groups = PassSize(64, 10**7), range(len(some))
        for draws in VmapEngine().gradients(problem, build_estimator("iwae", {}), groups, range(5), size):
            found = dict(zip(problem.layout.names, draws, strict=True))
            off = found["mu"] - ((some - model.mu.detach()) / 2 - found["b"] / 2)
            worst = max(worst, float(off.abs().max()))
    return worst
