"""Test metrics of runs against what they were trained with: the figures over M and over β share this."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from snrkit.report.axes import log_limits, log_x
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing
from snrkit.report.layout import panels
from snrkit.report.lines import Line, fewest, joined, trend
from snrkit.report.naming import named_lines
from snrkit.report.repetitions import last_evaluations, own_data, settings, steps_notes
from snrkit.report.style import Look

PANELS = {"iwae_64": "IWAE-64 (nats)", "log_p": "log $\\hat{p}$(x) (nats)", "kl_q_p": "KL(Q‖P) (nats)"}
DEFINITION = (
    "IWAE-64: 64-sample bound on the test set. log p̂(x): the bound with thousands of samples. KL(Q‖P) = log p̂ − IWAE-64, at "
    "least 0. All of the last evaluated step of a run."
)
UNCERTAINTY = "Bars: 95 % intervals, over seeds (Student t) where a setting has several, else over test points."
# What runs must have in common to stand on one line: runs of other lengths, say, are no trade-off between estimators.
SAME = ["trained_on", "data", "T", "model", "step", "rest"]
# Of a panel, in units of the text size.
_HEIGHT = 15
# Lines stand side by side at each x, so that no interval hides another: widest between two, and between the outermost,
# in units of the marker's size.
_STEP, _WIDEST = 0.9, 4.0
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


def several(groups: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """The groups that make a line: one value at each x, the first there is, and several x. And a line about the rest.

    Args:
        groups: rows of each line, with the column ``x``.
    """
    single = [group.drop_duplicates(["metric", "x"]) for group in groups]
    found = [group for group in single if group["x"].nunique() > 1]
    twice, alone = sum(map(len, groups)) - sum(map(len, single)), len(single) - len(found)
    notes = []
    if twice:
        notes.append(f"{twice} values are left out where their line has another of the same kind of run")
    if alone:
        notes.append(f"{alone} settings are left out: no other run is like them in all but what is varied")
    return found, tuple(notes)


def draw_tradeoff(
    groups: Sequence[pd.DataFrame], look: Look, *, label: str, log: bool, caption: str, notes: Sequence[str] = ()
) -> Drawing:
    """Panels of the three metrics against the column ``x``.

    Args:
        groups: rows of each line.
        look: sizes.
        label: of the x axis.
        log: whether x is logarithmic.
        caption: what is shown, to which the data sets and numbers of runs are added.
        notes: what was left out, a line each.
    """
    groups, over = fewest(groups)
    found = named_lines(groups, [name for name in SAME if name != "rest"])
    data = pd.concat([line.rows for line in found], ignore_index=True)
    shown = [metric for metric in PANELS if (data["metric"] == metric).any()]
    figure, axes = panels(look, len(shown), handles=[line.handle() for line in found], height=_HEIGHT)
    for place, metric in zip(axes, shown, strict=True):
        _panel(place, metric, found, data, log)
        # One above the other the panels share the names of their x axis.
        place.tick_params(labelbottom=_is_lowest(place))
        if _is_lowest(place):
            place.set_xlabel(label)
    alt = f"Line chart against {label}. {'. '.join(_trends(metric, found) for metric in shown)}."
    return Drawing(figure, data[_TWIN], caption + _where(data), alt, (*notes, *over, *steps_notes(data)))


def _where(data: pd.DataFrame) -> str:
    runs = int(data["runs"].max())
    seeds = f"up to {runs} seeds" if runs > 1 else "one run each"
    apart = " Lines are shifted sideways a little to keep their intervals apart." if data["line"].nunique() > 1 else ""
    trained, tested = joined(data["trained_on"].unique()), joined(data["data"].unique())
    return f" Trained on {trained}, evaluated on {tested}, {seeds}.{apart}"


def _trends(metric: str, found: Sequence[Line]) -> str:
    own = [Line(line.label, line.style, line.rows[line.rows["metric"] == metric]) for line in found]
    return f"{metric}: {'; '.join(trend(line, 'x') for line in own if len(line.rows))}"


def _is_lowest(axes: Axes) -> bool:
    spec = axes.get_subplotspec()
    return spec is None or spec.is_last_row()


def _panel(axes: Axes, metric: str, found: Sequence[Line], data: pd.DataFrame, log: bool) -> None:
    values = sorted(data["x"].unique())
    if log:
        log_x(axes, [int(value) for value in values], log_limits(values[0], values[-1], pad=0.08))
    else:
        axes.set_xmargin(0.08)
    for line, shift in zip(found, _shifts(len(found)), strict=True):
        rows = line.rows[line.rows["metric"] == metric].sort_values("x")
        if rows.empty:
            continue
        look = line.style
        aside = ScaledTranslation(shift / 72, 0, axes.figure.dpi_scale_trans)
        bars = axes.vlines(rows["x"].astype(float), rows["ci_low"], rows["ci_high"], color=look.colour)
        (drawn,) = axes.plot(
            rows["x"], rows["value"], color=look.colour, linestyle=look.dashes, marker=look.marker, label=line.label,
            gid="line",
        )  # fmt: skip
        for artist in (bars, drawn):
            artist.set_transform(axes.transData + aside)
    axes.set_ylabel(PANELS[metric])


def _shifts(count: int) -> list[float]:
    """How far each line stands beside its place, in points."""
    size = float(mpl.rcParams["lines.markersize"])
    step = size * min(_STEP, _WIDEST / count)
    return [step * (place - (count - 1) / 2) for place in range(count)]
