"""How many latent dimensions carry information."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import named_rows, panels
from snrkit.report.lines import Line, fewest, joined, lines
from snrkit.report.repetitions import last_evaluations, own_data, settings
from snrkit.report.style import Look

COMMAND = "snrkit evaluate --ckpt CHECKPOINT"

_PREFIX = "active_units"


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """A row per setting; layers of a hierarchical model one beside the other."""
    rows = tables["evaluations"]
    rows = rows[rows["metric"].astype(str).str.startswith(_PREFIX)]
    rows = rows[np.isfinite(rows["value"].astype(float))]
    if rows.empty:
        return Missing(f"active units were not counted: run '{COMMAND}'")
    counted = settings(own_data(last_evaluations(rows)), ["data", "metric"])
    groups, over = fewest([group for _, group in counted.groupby(["setting", "data"], sort=False)])
    found = lines(groups, ["M", "K", "trained_on", "data", "model", "run", "folder"])
    data = pd.concat([line.rows for line in found], ignore_index=True)
    metrics = list(dict.fromkeys(data["metric"]))
    names, height = named_rows(look, [line.label for line in found])
    figure, axes = panels(look, len(metrics), height=height)
    for place, metric in zip(axes, metrics, strict=True):
        _panel(place, metric, found)
        place.set_yticks(range(len(found)), names)
    if len(axes) > 1:
        for place in axes[1:]:
            place.tick_params(labelleft=place.get_subplotspec().is_first_col())  # type: ignore[union-attr]
    columns = [
        "line",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "runs",
        "data",
        "trained_on",
        "estimator",
        "options",
        "M",
        "K",
    ]
    return Drawing(figure, data[columns], _caption(data), _alt(found), over)


def _panel(axes: Axes, metric: str, found: Sequence[Line]) -> None:
    for place, line in enumerate(found):
        rows = line.rows[line.rows["metric"] == metric]
        if rows.empty:
            continue
        axes.hlines(place, rows["ci_low"], rows["ci_high"], color=line.style.colour)
        axes.plot(
            rows["value"], [place], marker=line.style.marker, color=line.style.colour, linestyle="none", gid="count"
        )
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    layer = metric.removeprefix(_PREFIX).strip("_").replace("_", " ")
    axes.set_xlabel(f"active units, {layer}" if layer else "active units")


def _caption(data: pd.DataFrame) -> str:
    return (
        f"Active units: {joined(data['definition'].unique())}. Evaluated on {joined(data['data'].unique())}. Bars: 95 % "
        "intervals, over seeds where there are several, else bootstrap over points."
    )


def _alt(found: Sequence[Line]) -> str:
    texts = [f"{line.label}: {', '.join(f'{v:g}' for v in line.rows['value'])}" for line in found]
    return f"Dot chart of active units. {'; '.join(texts)}."


figure = FigureKind(
    title="Active units",
    section="bound",
    needs=("evaluations",),
    command=COMMAND,
    definition="A latent dimension is active if Var_x(E_q[z_d]) > 0.01 over the test points (Burda et al. 2016).",
    uncertainty="Bars: 95 % intervals, over seeds where a setting has several, else bootstrap over test points.",
    draw=draw,
)
