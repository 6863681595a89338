"""Test metrics against β of CIWAE (Rainforth et al. 2018, figure 6)."""

import pandas as pd

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.style import Look
from snrkit.report.tradeoff import DEFINITION, SAME, UNCERTAINTY, draw_tradeoff, finished, several

COMMAND = "snrkit train --estimator ciwae --option beta=0.5, then snrkit evaluate, at several beta"


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """CIWAE's runs by β, with IWAE at 0 and VAE at 1 where they were trained with as many samples."""
    rows = finished(tables)
    groups = []
    if len(rows):
        beta = rows["beta_start"].astype(float)
        own = rows.assign(x=beta)[(rows["estimator"] == "ciwae") & beta.notna() & (rows["beta_learnt"] == "")]
        for (*keys, outer), group in own.groupby([*SAME, "M"], sort=False):
            same = rows[(rows[SAME] == keys).all(axis=1)]
            first = same[(same["estimator"] == "iwae") & (same["M"] == outer)]
            ends = [first.assign(x=0.0), same[same["estimator"] == "vae"].assign(x=1.0)]
            groups.append(pd.concat([group, *ends], ignore_index=True).assign(estimator="ciwae", options=""))
    groups, notes = several(groups)
    if not groups:
        return Missing(f"no evaluated runs of ciwae with different beta: run '{COMMAND}'")
    caption = "Test metrics against the weight β of the ELBO in CIWAE; β = 0 is IWAE, β = 1 the VAE."
    return draw_tradeoff(groups, look, label="β", log=False, caption=caption, notes=notes)


figure = FigureKind(
    title="Test metrics against β",
    section="bound",
    needs=("evaluations",),
    command=COMMAND,
    definition=DEFINITION,
    uncertainty=UNCERTAINTY,
    draw=draw,
)
