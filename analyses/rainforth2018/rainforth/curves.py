"""Metrics as functions of M (miwae, piwae) and of beta (ciwae) at T = 64, as the paper's Figure 6."""

from typing import Any

import pandas as pd

from analyses.common.report import NothingToSayError, Place
from analyses.common.runs import describe, spec_of, trained
from analyses.rainforth2018.rainforth.runs import ESTIMATORS, measured

T = 64


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """IWAE-64, log p̂, KL, SNR and active units along each curve."""
    if place.given:
        raise NothingToSayError(
            "left out: it needs runs along M and beta, and trains none into a folder that was given"
        )
    own = place.settings
    base = {**own["base"], "epochs": own["curves"]["epochs"]}
    rows, specs = [], []
    for curve, position, estimator in _points(own["curves"]):
        for seed in own["curves"]["seeds"]:
            spec = spec_of(base, {"estimator": estimator}, seed)
            specs.append(spec)
            found = measured(place, trained(spec, place), spec)
            row: list[Any] = [curve, position, seed]
            for metric in ("iwae_64", "log_p", "kl_q_p", "active_units"):
                row += [found.scores.loc[metric, "value"], found.scores.loc[metric, "stderr"]]
            rows.append([*row, *found.final_snr("snr_mean")])
    text = (
        f"## Metrics against M and beta at T = {T}\n\n{describe(specs)}. miwae and piwae at M = 1 are iwae, miwae at M = "
        f"{T} is vae, beta = 0 is iwae, and beta = 1 is vae with K = {T}. se: over the same test points for all, so "
        "differences between rows are known better than that."
    )
    columns = [
        "curve",
        "M or beta",
        "seed",
        "IWAE-64",
        "se",
        "log p̂",
        "se",
        "KL",
        "se",
        "active",
        "se",
        "snr_mean",
        "se",
    ]
    return text, _unique(pd.DataFrame(rows, columns=columns))


def _points(settings: dict[str, Any]) -> list[tuple[str, float, dict[str, Any]]]:
    points: list[tuple[str, float, dict[str, Any]]] = []
    for name in ("miwae", "piwae"):
        for M in settings["M"]:
            same = ESTIMATORS["iwae"] if M == 1 else ESTIMATORS["vae"] if M == T and name == "miwae" else None
            points.append((f"{name} in M", M, same or {"name": name, "M": M, "K": T // M}))
    for beta in (0.0, *settings["beta"]):
        own = {"name": "ciwae", "M": 1, "K": T, "options": {"beta": beta}}
        points.append(("ciwae in beta", beta, ESTIMATORS["iwae"] if beta == 0 else own))
    return points


def _unique(table: pd.DataFrame) -> pd.DataFrame:
    """Column names made different for the CSV: an error is called after what it belongs to."""
    names = list(table.columns)
    table.columns = pd.Index([f"{names[i - 1]} se" if name == "se" else name for i, name in enumerate(names)])
    return table
