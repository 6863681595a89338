"""PIWAE with the networks stepped together or in turn, on the same samples or each on its own."""

from typing import Any

import pandas as pd

from analyses.common.report import Place, paired
from analyses.common.runs import describe, evaluated
from analyses.common.tables import pm
from analyses.mcharrak2021.mcharrak.runs import ESTIMATORS, obtain

WAYS: dict[str, dict[str, Any]] = {
    "joint, shared samples": {},
    "joint, separate samples": {"samples": "separate"},
    "encoder first, shared": {"order": "encoder-first"},
    "encoder first, separate (001)": {"order": "encoder-first", "samples": "separate"},
    "decoder first, shared": {"order": "decoder-first"},
    "random order, shared": {"order": "random"},
}


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """Each way, and its difference from the first on the same test points."""
    own = place.settings
    rows, specs, reference = [], [], None
    for way, update in WAYS.items():
        trained, spec = obtain(place, ESTIMATORS["piwae"], **({"update": update} if update else {}))
        specs.append(spec)
        scores, points = evaluated(trained, own["evaluate"]["samples"], own["evaluate"]["points"])
        reference = points if reference is None else reference
        row = [way, *(pm(*scores.loc[metric, ["value", "stderr"]]) for metric in ("log_p", "kl_q_p"))]
        for metric in ("log_p", "kl_q_p"):
            same = points is reference
            row.append("" if same else pm(*paired(points[metric].to_numpy(), reference[metric].to_numpy()), 3))
        rows.append(row)
    text = (
        f"## Order of steps and samples\n\nPIWAE(8, 8), {describe(specs)}. Steps in turn cost a second forward pass. "
        "Differences from the first row: over the same test points, one run each, so they hold the luck of a run too. Two "
        "Adams, one per network, are one Adam over both, bit for bit (a test says so), and are no row here."
    )
    return text, pd.DataFrame(rows, columns=["way", "log p̂", "KL", "Δ log p̂", "Δ KL"])
