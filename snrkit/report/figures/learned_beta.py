"""The weight β of CIWAE along training, where it is learned or scheduled."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import fewest, joined, trend
from snrkit.report.naming import named_lines, names
from snrkit.report.style import Look

COMMAND = "snrkit train --estimator ciwae --K 64 --set estimator.options.beta.learn=bounded"


# How beta is learnt -> (what the legend says, dashes).
_WAYS: dict[str, tuple[str, style.Dashes]] = {
    "bounded": ("learnt within (0, 1)", style.RUN_DASHES[0]),
    "free": ("learnt freely", style.RUN_DASHES[1]),
    "": ("scheduled", style.RUN_DASHES[2]),
}
# What a colour stands for, which the name of a shade tells apart.
_SHADE = ["given", "trained_on", "model", "M", "K", "rest"]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """One line per run; its shade says where β begins, its dashes how it changes."""
    metrics = tables["metrics"]
    rows = metrics.head(0)
    if "beta" in metrics:
        rows = metrics[np.isfinite(metrics["beta"].astype(float))]
        # A beta that stays where it was set is no result.
        rows = rows[rows.groupby("folder")["beta"].transform("nunique") > 1]
    if rows.empty:
        return Missing(f"no run has a learned or scheduled beta: run '{COMMAND}'")
    rows = rows.sort_values(["beta_start", *_SHADE, "beta_learnt", "seed", "folder", "epoch"], kind="stable")
    groups, over = fewest([group for _, group in rows.groupby("folder", sort=False)])
    found = named_lines(groups, ["trained_on", "M", "K", "seed"])
    data = pd.concat([line.rows for line in found], ignore_index=True)
    shades = dict(zip(_shades(data), style.shades(len(_shades(data))), strict=True))
    figure, (axes,) = panels(look, 1, handles=_handles(data, shades))
    for line in found:
        colour, (_, dashes) = shades[_shade(line.rows.iloc[0])], _WAYS[line.rows["beta_learnt"].iloc[0]]
        axes.plot(line.rows["epoch"], line.rows["beta"], color=colour, linestyle=dashes, label=line.label, gid="beta")
    axes.set_ylim(min(0.0, float(data["beta"].min())) - 0.1, max(1.0, float(data["beta"].max())) + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch")
    axes.set_ylabel("β")
    caption = (
        "Weight β of the ELBO in CIWAE's objective after each epoch (0: IWAE, 1: VAE), a line per run. Shades: where β "
        f"begins. Trained on {joined(data['trained_on'].unique())}."
    )
    alt = f"Line chart of β along training. {'; '.join(trend(line, 'epoch', 'beta') for line in found)}."
    twin = data[["line", "run", "epoch", "beta", "estimator", "options", "M", "K", "seed", "trained_on"]]
    return Drawing(figure, twin, caption, alt, over)


def _shade(row: "pd.Series[Any]") -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _SHADE)


def _shades(data: pd.DataFrame) -> list[tuple[str, ...]]:
    """What shades stand for, in order."""
    return list(dict.fromkeys(_shade(row) for _, row in data.iterrows()))


def _handles(data: pd.DataFrame, shades: Mapping[tuple[str, ...], str]) -> list[Line2D]:
    """An entry for each shade and, where there are several, for each way to change."""
    keys = [row for _, row in data.drop_duplicates(_SHADE).assign(options=lambda t: t["given"]).iterrows()]
    called = names(keys, ["trained_on", "M", "K", "model"])
    found = [Line2D([], [], color=shades[_shade(key)], label=name) for key, name in zip(keys, called, strict=True)]
    ways = [way for way in _WAYS if (data["beta_learnt"] == way).any()]
    dashed = [Line2D([], [], color=style.DARK_GREY, linestyle=_WAYS[way][1], label=_WAYS[way][0]) for way in ways]
    return [*found, *(dashed if len(ways) > 1 else [])]


figure = FigureKind(
    title="Learned β",
    section="training",
    needs=("metrics",),
    command=COMMAND,
    definition="CIWAE maximises β·ELBO + (1 − β)·IWAE bound on the same samples.",
    uncertainty="None: β is a number of the run; seeds are drawn one by one.",
    draw=draw,
)
