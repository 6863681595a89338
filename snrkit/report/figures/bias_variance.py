"""Squared bias, variance and their sum against K, by network."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.axes import log_limits, log_x, log_y
from snrkit.report.blocks import NETWORKS
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import KEY, Line, comparable, fewest, joined, latest, several, solid, trend
from snrkit.report.naming import OF_MODEL, named_lines
from snrkit.report.repetitions import readings_over_seeds, seeds_caption, uneven
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1,10,100 --estimator iwae,dreg,stl --bias bound"

# Part -> (dashes, legend).
PARTS = {
    "sum": ((0, ()), "bias² + variance"),
    "variance": ((0, (3.5, 1.6)), "variance"),
    "bias_squared": ((0, (1, 1.3)), "bias²"),
}
_TWIN = [
    "line",
    "block",
    "part",
    "K",
    "M",
    "value",
    "ci_low",
    "ci_high",
    "bounded",
    "estimator",
    "options",
    "run",
    "step",
]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Each estimator with a measured bias, and those without one (by definition) as variance alone."""
    readings = tables["snr"]
    rows = latest(readings[readings["metric"].isin(["bias_squared", "variance"]) & readings["block"].isin(NETWORKS)])
    if not (rows["metric"] == "bias_squared").any():
        return Missing(f"no bias was measured: run '{COMMAND}'")
    biased = rows[rows["metric"] == "bias_squared"]
    rows = rows[rows["source"].isin(biased["source"]) & np.isfinite(rows["value"].astype(float))]
    rows = readings_over_seeds(rows)
    at_fewest = [g[g["M"] == g["M"].min()] for _, g in rows.groupby(KEY, sort=False, dropna=False)]
    kept, few = comparable([g.drop_duplicates(["block", "K", "metric"], keep="last") for g in at_fewest])
    parts_of = [_parts(group) for group in kept]
    groups, alone = several([group for group in parts_of if len(group)], "K")
    groups, over = fewest(groups)
    if not groups:
        return Missing(f"no finite bias was measured: run '{COMMAND}'")
    found = solid(named_lines(groups, [*OF_MODEL, "M", "data", "seed", "method", "step"]))
    data = pd.concat([line.rows for line in found], ignore_index=True)
    blocks = [block for block in NETWORKS if (data["block"] == block).any()]
    parts = [part for part in PARTS if (data["part"] == part).any()]
    handles = [*(line.handle() for line in found), *_key(data, parts)]
    figure, axes = panels(look, len(blocks), handles=handles, share_y=True)
    shown = data["value"][data["value"] > 0]
    for place, block in zip(axes, blocks, strict=True):
        _panel(place, block, found, log_limits(float(shown.min()), float(shown.max())))
    axes[0].set_ylabel("squared norm")
    target = joined(f"target: {own}" for own in biased["target"].unique() if own) or "the gradient of its own bound"
    return Drawing(
        figure,
        data[_TWIN],
        _caption(data, target),
        _alt(found),
        (*few, *alone, *over, *uneven(line.rows for line in found)),
    )


def _parts(rows: pd.DataFrame) -> pd.DataFrame:
    """Long table of the parts; where the squared bias cannot be told from 0, the upper end of its interval, ``bounded``."""
    keys = ["block", "K"]
    own = rows.assign(part=rows["metric"], bounded=(rows["metric"] == "bias_squared") & ~(rows["ci_low"] > 0))
    own["value"] = own["value"].where(~own["bounded"], own["ci_high"])
    wide = rows.pivot(index=keys, columns="metric", values="value")
    if "bias_squared" in wide:
        both = wide.dropna().sum(axis=1).clip(lower=0).rename("value").reset_index()
        total = both.merge(rows[rows["metric"] == "variance"].drop(columns="value"), on=keys)
        own = pd.concat([own, total.assign(part="sum", bounded=False, ci_low=np.nan, ci_high=np.nan)])
    return own[own["value"] > 0].sort_values(["block", "part", "K"], ascending=[False, True, True])


def _key(data: pd.DataFrame, parts: Sequence[str]) -> list[Line2D]:
    entries = [Line2D([], [], color=style.DARK_GREY, linestyle=PARTS[p][0], label=PARTS[p][1]) for p in parts]
    if data["bounded"].any():
        hollow = Line2D([], [], color=style.DARK_GREY, markerfacecolor="white", linestyle="none", marker="v")
        hollow.set_label("bias² at most")
        entries.append(hollow)
    return entries


def _panel(axes: Axes, block: str, found: Sequence[Line], limits: tuple[float, float]) -> None:
    rows = pd.concat([line.rows[line.rows["block"] == block] for line in found])
    samples = sorted(int(k) for k in rows["K"].unique())
    log_x(axes, samples, log_limits(samples[0], samples[-1], pad=0.05))
    log_y(axes, limits)
    for line in found:
        for part, own in line.rows[line.rows["block"] == block].groupby("part"):
            _part(axes, line, str(part), own)
    axes.set_title(NETWORKS[block])
    axes.set_xlabel("samples K")


def _part(axes: Axes, line: Line, part: str, rows: pd.DataFrame) -> None:
    look = line.style
    sure, bounded = rows[~rows["bounded"]], rows[rows["bounded"]]
    marker = "" if part == "variance" and len(rows) > 1 else look.marker
    if part == "bias_squared":
        axes.vlines(sure["K"], sure["ci_low"].clip(lower=axes.get_ylim()[0]), sure["ci_high"], color=look.colour)
        axes.plot(
            bounded["K"], bounded["value"], marker="v", color=look.colour, markerfacecolor="white", linestyle="none",
            gid="bounded",
        )  # fmt: skip
    axes.plot(
        sure["K"], sure["value"], color=look.colour, linestyle=PARTS[part][0], marker=marker, label=line.label, gid=part
    )  # fmt: skip


def _caption(data: pd.DataFrame, target: str) -> str:
    return (
        f"Squared norm of the bias E[Δ] − target ({target}), trace of the variance, and their sum, the mean squared error, "
        f"against K at M = {joined(sorted(data['M'].unique()))}, for the gradient of the mean over "
        f"{joined(data['data'].unique())}. "
        "Estimators without a bias curve have none by definition. Bars: 95 % intervals of the squared bias, "
        f"debiased{seeds_caption(data)}; hollow "
        "triangles: it cannot be told from zero, shown is the upper end of its interval."
    )


def _alt(found: Sequence[Line]) -> str:
    texts = []
    for line in found:
        for (block, part), rows in line.rows.groupby(["block", "part"], sort=False):
            texts.append(f"{block}, {PARTS[str(part)][1]}, {trend(Line(line.label, line.style, rows), 'K')}")
    return f"Line chart on log axes. {'. '.join(texts)}."


figure = FigureKind(
    title="Bias and variance",
    section="gradients",
    needs=("snr",),
    command=COMMAND,
    definition=(
        "Squared bias: squared norm of E[Δ] minus the target, unbiased (it can come out negative). Variance: "
        "trace, the sum over "
        "coordinates. Their sum is the mean squared distance between one estimate and the target."
    ),
    uncertainty="Bars: 95 % intervals, jackknife over blocks of draws.",
    draw=draw,
)
