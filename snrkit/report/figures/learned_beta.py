"""The weight β of CIWAE along training, where it is learned or scheduled."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import fewest, joined, lines, trend
from snrkit.report.style import Look

COMMAND = "snrkit train --estimator ciwae --K 64 --set beta.learn=bounded"


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """One line per run."""
    metrics = tables["metrics"]
    rows = metrics.head(0)
    if "beta" in metrics:
        rows = metrics[np.isfinite(metrics["beta"].astype(float))]
        # A beta that stays where it was set is no result.
        rows = rows[rows.groupby("folder")["beta"].transform("nunique") > 1]
    if rows.empty:
        return Missing(f"no run has a learned or scheduled beta: run '{COMMAND}'")
    groups, over = fewest([group.sort_values("epoch") for _, group in rows.groupby("folder", sort=False)])
    found = lines(groups, ["M", "K", "trained_on", "seed", "folder"])
    data = pd.concat([line.rows for line in found], ignore_index=True)
    figure, (axes,) = panels(look, 1, handles=[line.handle() for line in found])
    for line in found:
        marker = line.style.marker if len(line.rows) < 12 else ""
        axes.plot(
            line.rows["epoch"], line.rows["beta"], color=line.style.colour, linestyle=line.style.dashes, marker=marker,
            label=line.label, gid="beta",
        )  # fmt: skip
    axes.set_ylim(min(0.0, float(data["beta"].min())) - 0.1, max(1.0, float(data["beta"].max())) + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch")
    axes.set_ylabel("β")
    caption = (
        "Weight β of the ELBO in CIWAE's objective after each epoch (0: IWAE, 1: VAE), trained on "
        f"{joined(data['trained_on'].unique())}."
    )
    alt = f"Line chart of β along training. {'; '.join(trend(line, 'epoch', 'beta') for line in found)}."
    twin = data[["line", "run", "epoch", "beta", "estimator", "options", "M", "K", "seed", "trained_on"]]
    return Drawing(figure, twin, caption, alt, over)


figure = FigureKind(
    title="Learned β",
    section="training",
    needs=("metrics",),
    command=COMMAND,
    definition="CIWAE maximises β·ELBO + (1 − β)·IWAE bound on the same samples.",
    uncertainty="None: β is a number of the run; seeds are drawn one by one.",
    draw=draw,
)
