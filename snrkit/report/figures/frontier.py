"""SNR per cost of every way to spend a budget of samples: what ``snrkit advise`` measured."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.axes import log_limits, log_y
from snrkit.report.blocks import NETWORKS
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import joined
from snrkit.report.style import Look

COMMAND = "snrkit advise --ckpt CHECKPOINT --budget 64"

_TWIN = ["run", "step", "data", "budget", "draws", "estimator", "M", "K", "network", "value", "ci_low", "ci_high",
         "milliseconds", "bound_gap", "frontier", "best_for"]  # fmt: skip
_NORMAL_95 = 1.959964


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """SNR of both networks against the time of a training step, and the settings that nothing cheaper beats."""
    advice = tables["advice"]
    if advice.empty:
        return Missing(f"no advice was asked for: run '{COMMAND}'")
    first = advice[advice["source"] == advice["source"].iloc[0]]
    first = first.assign(label=list(map(style.estimator_label, first["name"], first["options"])))
    data = pd.concat([_network(first, network) for network in NETWORKS], ignore_index=True)
    data = data[np.isfinite(data["value"]) & (data["value"] > 0) & (data["milliseconds"] > 0)]
    if data.empty:
        return Missing(f"no setting with a positive SNR in the advice: run '{COMMAND}' with more --draws")
    each = data.drop_duplicates("label")
    looks = dict(zip(each["label"], style.assign([(name, "") for name in each["name"]]), strict=True))
    handles = [
        Line2D([], [], color=look_.colour, marker=look_.marker, linestyle="none", label=label)
        for label, look_ in looks.items()
    ]
    ring = Line2D([], [], marker="o", linestyle="none", color=style.DARK_GREY, markerfacecolor="none", label="advised")
    ring.set_markersize(1.9 * ring.get_markersize())
    best = Line2D([], [], color=style.GREY, label="frontier")
    blocks = [block for block in NETWORKS if (data["network"] == block).any()]
    figure, axes = panels(look, len(blocks), handles=[*handles, best, ring])
    for place, block in zip(axes, blocks, strict=True):
        _panel(place, block, data[data["network"] == block], looks)
    axes[0].set_ylabel("pooled SNR")
    others = advice["source"].nunique() - 1
    notes = (f"the advice on {others} other runs is not shown; name one run",) if others else ()
    return Drawing(figure, data[_TWIN], _caption(first), _alt(data), notes)


def _network(rows: pd.DataFrame, network: str) -> pd.DataFrame:
    value, error = (rows[f"snr_{network}{suffix}"].astype(float) for suffix in ("", "_stderr"))
    own = rows.assign(
        network=network, value=value, ci_low=value - _NORMAL_95 * error, ci_high=value + _NORMAL_95 * error,
        milliseconds=1000 * rows["seconds_per_step"].astype(float),
    )  # fmt: skip
    order = own.sort_values("milliseconds", kind="stable")
    better = order["value"] > order["value"].cummax().shift(fill_value=-np.inf)
    return own.assign(frontier=better.reindex(own.index))


def _panel(axes: Axes, block: str, data: pd.DataFrame, looks: dict[str, style.LineStyle]) -> None:
    ends = data["ci_low"][data["ci_low"] > 0]
    low = max(min(data["value"].min(), ends.min() if len(ends) else np.inf), data["value"].min() / 3)
    log_y(axes, log_limits(float(low), float(data["ci_high"].fillna(data["value"]).max()), pad=0.1))
    line = data[data["frontier"]].sort_values("milliseconds")
    axes.plot(
        line["milliseconds"], line["value"], color=style.GREY, drawstyle="steps-post", zorder=1, gid="frontier"
    )  # fmt: skip
    for label, own in data.groupby("label", sort=False):
        look = looks[str(label)]
        bottom = own["ci_low"].clip(lower=axes.get_ylim()[0])
        axes.vlines(own["milliseconds"], bottom, own["ci_high"], color=look.colour, linewidth=0.7)
        axes.plot(
            own["milliseconds"], own["value"], color=look.colour, marker=look.marker, linestyle="none",
            label=str(label), gid="settings",
        )  # fmt: skip
    advised = data[data[f"advised_{block}"]]
    (ring,) = axes.plot(
        advised["milliseconds"], advised["value"], marker="o", linestyle="none", color=style.DARK_GREY,
        markerfacecolor="none", gid="advised",
    )  # fmt: skip
    ring.set_markersize(1.9 * ring.get_markersize())
    axes.margins(x=0.1)
    axes.set_title(NETWORKS[block])
    axes.set_xlabel("ms per training step")


def _caption(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    reasons = [
        f"{r['goal']}: {r['setting'] + ', since ' if r['setting'] else ''}{r['reason']}" for r in first["reasons"]
    ]
    return (
        f"Every way to spend T = M·K = {first['budget']} samples per data point with "
        f"{joined(rows['label'])}: "
        f"pooled SNR of each network's gradient against the measured time of a training step ({first['called']}, step "
        f"{first['step']}, {first['data']}, {first['draws']} draws). Bars: 95 % intervals. Frontier: no cheaper "
        f"setting reads higher. Advice: {'. '.join(reasons)}."
    )


def _alt(data: pd.DataFrame) -> str:
    parts = []
    for network, own in data.groupby("network", sort=False):
        best = own.sort_values("value").iloc[-1]
        parts.append(
            f"{network} network: highest SNR {best['value']:.3g} with {best['estimator']} M={best['M']} K={best['K']} at "
            f"{best['milliseconds']:.3g} ms per step, lowest {own['value'].min():.3g}"
        )
    return f"Scatter chart of SNR against cost. {'. '.join(parts)}."


figure = FigureKind(
    title="Signal-to-noise ratio per cost",
    section="advice",
    needs=("advice",),
    command=COMMAND,
    definition=(
        "Pooled SNR: root of Σ E[Δ]² / Σ Var[Δ] over a network's coordinates, debiased. Cost: median wall "
        "time of a step."
    ),
    uncertainty="Bars: ± 1.96 standard errors over blocks of draws. Times are of one machine and not repeated.",
    draw=draw,
)
