"""Test metrics against M at a fixed budget T = M·K (Rainforth et al. 2018, figure 6)."""

from collections.abc import Sequence

import pandas as pd

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.style import Look
from snrkit.report.tradeoff import DEFINITION, SAME, UNCERTAINTY, draw_tradeoff, finished, several

COMMAND = "snrkit train --estimator miwae --M 8 --K 8, then snrkit evaluate, at several M with the same M·K"

_OVER_M = ("miwae", "piwae")


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """A line per estimator that has M, with IWAE at its M = 1 end and VAE at MIWAE's M = T end."""
    rows = finished(tables)
    groups = []
    if len(rows):
        for estimator in _OVER_M:
            own = rows[rows["estimator"] == estimator]
            for (*keys, options), group in own.groupby([*SAME, "options"], sort=False):
                line = pd.concat([group.assign(x=group["M"]), _ends(rows, estimator, keys)], ignore_index=True)
                groups.append(line.assign(estimator=estimator, options=str(options)))
    groups, notes = several(groups)
    if not groups:
        return Missing(f"no evaluated runs with different M at the same M·K: run '{COMMAND}'")
    budgets = sorted({f"{t:g}" for group in groups for t in group["T"]})
    caption = (
        f"Test metrics against the number M of outer samples at a fixed budget of T = M·K = {', '.join(budgets)} "
        "samples. M = 1 is "
        "IWAE; M = T of MIWAE is the VAE."
    )
    return draw_tradeoff(groups, look, label="outer samples M", log=True, caption=caption, notes=notes)


def _ends(rows: pd.DataFrame, estimator: str, keys: Sequence[object]) -> pd.DataFrame:
    """Runs of other estimators that are this one at an end of its range."""
    same = rows[(rows[SAME] == list(keys)).all(axis=1)]
    first = same[(same["estimator"] == "iwae") & (same["M"] == 1)]
    parts = [first.assign(x=1)]
    if estimator == "miwae":
        last = same[same["estimator"] == "vae"]
        parts.append(last.assign(x=last["T"].astype(int)))
    return pd.concat(parts, ignore_index=True)


figure = FigureKind(
    title="Test metrics against M at a fixed budget",
    section="bound",
    needs=("evaluations",),
    command=COMMAND,
    definition=DEFINITION,
    uncertainty=UNCERTAINTY,
    draw=draw,
)
