"""Reconstruction, KL, bound and perplexity of every run."""

from typing import Any

import pandas as pd

from analyses.common.report import Place, paired
from analyses.common.runs import evaluated
from analyses.sentences2016.sections.runs import every, in_words

_SCORES = {
    "reconstruction": "rec", "kl": "KL", "elbo": "bound", "log_p": "log p", "perplexity": "perplexity",
    "perplexity_elbo": "perplexity of bound", "active_units": "active units",
}  # fmt: skip


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """One row per run and seed."""
    settings, rows, points = place.settings, [], {}
    samples, count = settings["evaluate"]["samples"], settings["evaluate"]["points"]
    for name, seed, own in every(place):
        scores, each = evaluated(own.folder, samples, count)
        points[name, seed] = each
        rows.append(_row(name, seed, settings["runs"][name], scores))
    table = pd.DataFrame(rows)
    seeds = settings["seeds"]
    text = (
        f"## Collapse\n\n{in_words(settings)}; {count} test sentences, log p from {samples} samples; nats per sentence, `±` "
        f"the standard error over sentences. Text: World English Bible.\n\n{_told(table, points, seeds)}"
    )
    return text, table


def _row(name: str, seed: int, own: dict[str, Any], scores: pd.DataFrame) -> dict[str, Any]:
    kl = own["kl"]
    grows = f"0 to 1 over {kl['until_epochs']} epochs" if isinstance(kl, dict) else "1"
    row: dict[str, Any] = {"run": name, "seed": seed, "words given": own["keep"], "weight of KL": grows}
    for metric, column in _SCORES.items():
        row[column] = round(float(scores.loc[metric, "value"]), 3)
        if metric in ("kl", "elbo", "perplexity"):
            row[f"{column} ±"] = round(float(scores.loc[metric, "stderr"]), 3)
    return row


def _told(table: pd.DataFrame, points: dict[tuple[str, int], pd.DataFrame], seeds: list[int]) -> str:
    """What the table says, in sentences made of its numbers."""
    means = table.groupby("run", sort=False)[["KL", "bound", "perplexity"]].mean()
    first = means.index[0]
    kls = ", ".join(f"{name} {value:.2f}" for name, value in means["KL"].items())
    parts = [f"KL, mean over seeds {', '.join(map(str, seeds))}: {kls}."]
    for name in means.index[1:]:
        gaps = [paired(points[name, seed]["elbo"].to_numpy(), points[first, seed]["elbo"].to_numpy()) for seed in seeds]
        told = ", ".join(f"{gap:+.2f} ± {error:.2f}" for gap, error in gaps)
        parts.append(f"Bound of {name} less that of {first}, on the same sentences, by seed: {told}.")
    best = means["perplexity"].idxmin()
    parts.append(f"The lowest perplexity is that of {best}: {means['perplexity'][best]:.1f}, mean over seeds.")
    return "\n".join(f"- {part}" for part in parts)
