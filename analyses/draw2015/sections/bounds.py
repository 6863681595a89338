"""What attention does for the bound."""

import math

import pandas as pd

from analyses.common.report import Place, paired
from analyses.common.runs import describe, evaluated, opened_run
from analyses.draw2015.sections import runs

_SCORES = {"elbo": "ELBO", "iwae_64": "IWAE-64", "log_p": "log p̂", "ess_64": "ESS of 64"}


def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """The scores of each model, mean over seeds; and the difference of the two, paired by seed."""
    samples, rows, specs = place.settings["evaluate"]["samples"], [], []
    for name, seed, own in runs(place):
        scores, _ = evaluated(own, samples, place.settings["evaluate"].get("points"))
        opened = opened_run(own)
        specs.append(opened.spec)
        size = sum(parameter.numel() for parameter in opened.model.parameters())
        rows.append(
            {
                "model": name,
                "seed": seed,
                "parameters": size,
                **{label: scores.value[key] for key, label in _SCORES.items()},
            }
        )
    table = pd.DataFrame(rows)
    summary = []
    for name, own in table.groupby("model", sort=False):
        row = {"model": name, "parameters": int(own["parameters"].iloc[0])}
        for label in _SCORES.values():
            row |= {label: own[label].mean(), f"{label} se": own[label].std(ddof=1) / math.sqrt(len(own))}
        summary.append(row)
    text = (
        "## With and without attention\n\n"
        f"{describe(specs)}; plain: read=0 write=0. Nats per test image, {samples} samples behind log p̂; means over seeds, "
        f"with their standard error. {_difference(table)}"
    )
    return text, {"": pd.DataFrame(summary), "_runs": table}


def _difference(table: pd.DataFrame) -> str:
    wide = table.pivot_table(index="seed", columns="model", values=_SCORES["log_p"])
    if len(wide) < 2 or not {"attention", "plain"} <= set(wide):
        return ""
    mean, error = paired(wide["attention"].to_numpy(), wide["plain"].to_numpy())
    verdict = "above" if mean > 2 * error else "below" if mean < -2 * error else "not told from"
    return (
        f"With attention log p̂ is {verdict} that without: by {mean:+.2f} ± {error:.2f} nats, paired by seed. That is said "
        "of windows of 3 x 3 filters on images of 8 x 8, whose strokes are a pixel wide, not of attention at the "
        "paper's sizes."
    )
