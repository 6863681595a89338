"""SSIM of reconstructions, on the data trained on and on the other (001, Figures 5 and 6, Table 2)."""

from pathlib import Path

import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import describe, evaluated
from analyses.common.tables import pm
from analyses.mcharrak2021.mcharrak.runs import ESTIMATORS, obtain

PUBLISHED = Path(__file__).parents[1] / "mcharrak2021.published.csv"


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """Every estimator trained on each data set, on the test points of each."""
    own = place.settings
    published = pd.read_csv(PUBLISHED).query("metric == 'ssim'").set_index(["data", "estimator"])
    rows, specs = [], []
    for trained_on in own["ssim"]["data"]:
        for tested_on in own["ssim"]["data"]:
            for name, estimator in ESTIMATORS.items():
                trained, spec = obtain(place, estimator, trained_on)
                specs.append(spec)
                other = None if tested_on == trained_on else tested_on
                scores, points = evaluated(trained, own["evaluate"]["samples"], own["evaluate"]["points"], other)
                key = f"{trained_on} on {tested_on}", name
                known = pm(*published.loc[key, ["value", "error"]], 3) if key in published.index else ""
                ours = scores.loc["ssim"] if "ssim" in scores.index else pd.Series({"value": float("nan")})
                row = [trained_on, points.data.iloc[0], name, known, pm(ours.value, ours.get("sd", float("nan")), 3)]
                rows.append([*row, ours.get("stderr", float("nan")), pm(*scores.loc["log_p", ["value", "stderr"]])])
    text = (
        f"## SSIM\n\n{describe(specs)}. Structural similarity of the binarised image with the Bernoulli means of one z from "
        "q: mean ± sd over test points, and its standard error. Ours reflects the borders, the published one pads with "
        "zeros, and large empty borders count in both; levels differ for that and for the scale of training."
    )
    columns = ["trained on", "evaluated on", "estimator", "published SSIM ± sd", "ours ± sd", "s.e.", "log p̂"]
    return text, pd.DataFrame(rows, columns=columns)
