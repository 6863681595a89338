"""Slope of log snr_pooled against M, drawn directly (by algebra it is 1/2 identically)."""

from typing import Any

import pandas as pd

from analyses.toy.sections.toy import toy
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """The slope in both networks."""
    own = settings["slope_in_m"]
    plan = Plan(
        estimators="iwae", K=own["K"], M=tuple(own["M"]), draws=own["draws"],
        direct=True, blocks=("inference", "generative"),
    )  # fmt: skip
    slopes = diagnose(*toy(settings, settings["perturb"], settings["seed"]), plan).slopes
    text = f"## Slope against M, drawn directly\n\nIWAE, K = {own['K']}, {own['draws']} draws at each M."
    return text, slopes[["block", "over", "slope", "stderr", "expected", "verdict"]]
