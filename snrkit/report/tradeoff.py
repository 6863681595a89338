"""Test metrics of runs against what they were trained with: the figures over M and over β share this."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from snrkit.report.axes import log_limits, log_x
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing
from snrkit.report.layout import panels
from snrkit.report.lines import Line, fewest, joined, lines, trend
from snrkit.report.repetitions import last_evaluations, own_data, settings
from snrkit.report.style import Look

PANELS = {"iwae_64": "IWAE-64 (nats)", "log_p": "log $\\hat{p}$(x) (nats)", "kl_q_p": "KL(Q‖P) (nats)"}
DEFINITION = (
    "IWAE-64: 64-sample bound on the test set. log p̂(x): the bound with thousands of samples. KL(Q‖P) = log p̂ − IWAE-64, at "
    "least 0. All of the last evaluated step of a run."
)
UNCERTAINTY = "Bars: 95 % intervals, over seeds (Student t) where a setting has several, else over test points."
# What runs must have in common to stand on one line: runs of other lengths are no trade-off between estimators.
SAME = ["trained_on", "data", "T", "model", "step"]
# Of a panel, in units of the text size.
_HEIGHT = 15
_TWIN = [
    "line",
    "metric",
    "x",
    "value",
    "ci_low",
    "ci_high",
    "runs",
    "estimator",
    "options",
    "M",
    "K",
    "trained_on",
    "data",
]


def finished(tables: Tables) -> pd.DataFrame:
    """The panels' metrics of every setting on the data it was first evaluated on, over seeds."""
    rows = tables["evaluations"]
    rows = rows[rows["metric"].isin(PANELS) & (rows["estimator"] != "")]
    if rows.empty:
        return rows
    rows = own_data(last_evaluations(rows))
    rows = rows[np.isfinite(rows["value"].astype(float))]
    return settings(rows, ["data", "metric"]).assign(T=lambda t: (t["M"] * t["K"]).astype(float))


def draw_tradeoff(groups: Sequence[pd.DataFrame], look: Look, *, label: str, log: bool, caption: str) -> Drawing:
    """Panels of the three metrics against the column ``x``.

    Args:
        groups: rows of each line.
        look: sizes.
        label: of the x axis.
        log: whether x is logarithmic.
        caption: what is shown, to which the data sets and numbers of runs are added.
    """
    groups, over = fewest(groups)
    found = lines(groups, SAME)
    data = pd.concat([line.rows for line in found], ignore_index=True)
    shown = [metric for metric in PANELS if (data["metric"] == metric).any()]
    figure, axes = panels(look, len(shown), handles=[line.handle() for line in found], height=_HEIGHT)
    for place, metric in zip(axes, shown, strict=True):
        _panel(place, metric, found, data, log)
        # One above the other the panels share the names of their x axis.
        place.tick_params(labelbottom=_is_lowest(place))
        if _is_lowest(place):
            place.set_xlabel(label)
    runs = int(data["runs"].max())
    more = f" Trained on {joined(data['trained_on'].unique())}, evaluated on {joined(data['data'].unique())}"
    more += f", up to {runs} seeds." if runs > 1 else ", one run each."
    texts = []
    for metric in shown:
        own = [Line(line.label, line.style, line.rows[line.rows["metric"] == metric]) for line in found]
        texts.append(f"{metric}: {'; '.join(trend(line, 'x') for line in own if len(line.rows))}")
    alt = f"Line chart against {label}. {'. '.join(texts)}."
    return Drawing(figure, data[_TWIN], caption + more, alt, over)


def _is_lowest(axes: Axes) -> bool:
    spec = axes.get_subplotspec()
    return spec is None or spec.is_last_row()


def _panel(axes: Axes, metric: str, found: Sequence[Line], data: pd.DataFrame, log: bool) -> None:
    values = sorted(data["x"].unique())
    if log:
        log_x(axes, [int(value) for value in values], log_limits(values[0], values[-1], pad=0.05))
    for line in found:
        rows = line.rows[line.rows["metric"] == metric].sort_values("x")
        if rows.empty:
            continue
        look = line.style
        axes.vlines(rows["x"].astype(float), rows["ci_low"], rows["ci_high"], color=look.colour)
        axes.plot(
            rows["x"], rows["value"], color=look.colour, linestyle=look.dashes, marker=look.marker, label=line.label,
            gid="line",
        )  # fmt: skip
    axes.set_ylabel(PANELS[metric])
