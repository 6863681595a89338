"""Noise of a random minibatch's gradient: from which points it holds, and from which samples were drawn."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.axes import log_limits, log_x, log_y
from snrkit.report.blocks import NETWORKS, heading, in_panels, told
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.escape import visible
from snrkit.report.layout import panels
from snrkit.report.lines import KEY, Line, comparable, fewest, joined, latest, several, solid, trend, usable
from snrkit.report.naming import OF_MODEL, named_lines
from snrkit.report.repetitions import readings_over_seeds, seeds_caption, uneven
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1,10,100 --data-points 50"
# Of a loss: batches that a function draws anew.
_OF_LOSS = "snrkit.measure_loss(loss, model, draw_batch, draws=200)"

# Metric -> (dashes, legend).
PARTS = {
    "data_variance": ((0, ()), "data"),
    "monte_carlo_variance": ((0, (3, 1.5)), "Monte Carlo"),
}
_TWIN = [
    "line",
    "block",
    "metric",
    "K",
    "M",
    "value",
    "ci_low",
    "ci_high",
    "estimator",
    "options",
    "run",
    "step",
    "scope",
]
# Of two places beside each other, as much is taken by the marks at one.
_WIDE = 0.6


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Both parts against K at each line's smallest M, errors over data points; of losses both parts, over batches."""
    readings = tables["snr"]
    wanted, left = _wanted(readings)
    known = np.isfinite(wanted["value"].astype(float))
    # A part may come out negative by chance, and a mean over seeds without those that do would be too large.
    rows, notes = usable(readings_over_seeds(wanted[known]))
    if rows.empty:
        is_loss = len(readings) and not readings["block"].isin(NETWORKS).any()
        return Missing(f"the parts of the noise were not measured: run '{_OF_LOSS if is_loss else COMMAND}'")
    groups = [g[g["M"] == g["M"].min()] for _, g in rows.groupby(KEY, sort=False, dropna=False)]
    groups, few = comparable(
        [g.drop_duplicates(["block", "metric", "K"], keep="last").sort_values("K") for g in groups]
    )
    losses = [group for group in groups if not group["block"].isin(NETWORKS).any()]
    against, alone = several([group for group in groups if group["block"].isin(NETWORKS).any()], "K")
    groups, over = fewest([*against, *losses])
    found = solid(named_lines(groups, [*OF_MODEL, "M", "data", "seed", "method", "step"]))
    data = pd.concat([line.rows for line in found], ignore_index=True)
    unknown = (f"{(~known).sum()} of {len(wanted)} readings are no numbers and not drawn",) if not known.all() else ()
    said = (*unknown, *notes, *few, *alone, *over, *left, *uneven(line.rows for line in found))
    return Drawing(_figure(found, data, look), data[_TWIN], _caption(data), _alt(found), said)


def _wanted(readings: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The parts of each run's last step in the blocks that are drawn, and a line about those that are not."""
    chosen = readings["metric"].isin(PARTS) & (readings["scope"] == "dataset")
    rows = told(latest(readings[chosen]))
    blocks, left = in_panels(rows)
    return rows[rows["block"].isin(blocks)], left


def _figure(found: Sequence[Line], data: pd.DataFrame, look: Look) -> Figure:
    blocks, _ = in_panels(data)
    key = [
        Line2D([], [], color=style.DARK_GREY, linestyle=dashes, label=label, marker="o", markerfacecolor=_fill(metric))
        for metric, (dashes, label) in PARTS.items()
    ]
    figure, axes = panels(look, len(blocks), handles=[*(line.handle() for line in found), *key], share_y=True)
    samples = sorted(int(k) for k in data["K"][data["block"].isin(NETWORKS)].unique())
    for place, block in zip(axes, blocks, strict=True):
        log_y(place, log_limits(float(data["value"].min()), float(data["value"].max()), pad=0.12))
        if block in NETWORKS and len(samples) > 1:
            log_x(place, samples, log_limits(samples[0], samples[-1], pad=0.05))
            _draw_lines(place, block, found)
            place.set_xlabel("samples K")
        else:
            _draw_parts(place, block, found)
            place.set_xlabel(f"at K = {samples[0]}" if block in NETWORKS else "")
        place.set_title(heading(block))
    units = ["variance × batch size" if block in NETWORKS else "variance" for block in blocks]
    for unit in dict.fromkeys(units):
        axes[units.index(unit)].set_ylabel(unit)
    return figure


def _draw_parts(axes: Axes, block: str, found: Sequence[Line]) -> None:
    """Of losses, which have no K, and of networks at a single one: the parts beside each other, a mark for each line."""
    bottom = axes.get_ylim()[0]
    own = [(line, line.rows[line.rows["block"] == block]) for line in found]
    shown = [(line, rows) for line, rows in own if len(rows)]
    for number, metric in enumerate(PARTS):
        for place, (line, whole) in enumerate(shown):
            rows, x = whole[whole["metric"] == metric], number + (place - (len(shown) - 1) / 2) * _WIDE / len(shown)
            look = line.style
            axes.vlines([x] * len(rows), rows["ci_low"].clip(lower=bottom), rows["ci_high"], color=look.colour)
            axes.plot(
                [x] * len(rows), rows["value"], color=look.colour, linestyle="none", marker=look.marker,
                label=line.label, gid=metric, markerfacecolor=_fill(metric) or look.colour,
            )  # fmt: skip
    axes.set_xlim(-0.5, len(PARTS) - 0.5)
    axes.set_xticks(range(len(PARTS)), [label for _, label in PARTS.values()])


def _draw_lines(axes: Axes, block: str, found: Sequence[Line]) -> None:
    bottom = axes.get_ylim()[0]
    for line in found:
        for metric, (dashes, _) in PARTS.items():
            rows = line.rows[(line.rows["block"] == block) & (line.rows["metric"] == metric)]
            if rows.empty:
                continue
            look, x = line.style, rows["K"].astype(float)
            low, high = rows["ci_low"].clip(lower=bottom), rows["ci_high"]
            if len(rows) > 1:
                axes.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
            else:
                axes.vlines(x, low, high, color=look.colour)
            axes.plot(
                x, rows["value"], color=look.colour, linestyle=dashes, marker=look.marker, label=line.label,
                gid=metric, markerfacecolor=_fill(metric) or look.colour,
            )  # fmt: skip


def _fill(metric: str) -> str | None:
    """Hollow markers for the Monte Carlo part: where a line is one point, dashes cannot tell the parts apart."""
    return "white" if metric == "monte_carlo_variance" else None


def _caption(data: pd.DataFrame) -> str:
    whole, seeds = data["block"].isin(NETWORKS), seeds_caption(data)
    parts = [_of_networks(data[whole], seeds)] if whole.any() else []
    if not whole.all():
        parts.append(
            "Trace of the variance of the gradient of a loss on one batch drawn anew, split into the part from which batch "
            f"it is and the part from what the loss draws ({joined(data['data'][~whole].unique())}). The ratio of the "
            "second to the first is the number of repetitions at which they are equal. Bars: 95 % intervals over "
            f"batches{seeds}."
        )
    return " ".join(parts)


def _of_networks(data: pd.DataFrame, seeds: str) -> str:
    return (
        "Trace of the variance of the gradient of a minibatch of B random data points, times B, split into the "
        "part from which "
        "points it holds and the part from which samples were drawn, against K at M = "
        f"{joined(sorted(data['M'].unique()))} ({joined(data['data'].unique())}). The second part falls as 1/M: the "
        "ratio of the two is the M at "
        f"which they are equal. Bands: 95 % intervals over data points{seeds}."
    )


def _alt(found: Sequence[Line]) -> str:
    texts = []
    for line in found:
        for (block, metric), rows in line.rows.groupby(["block", "metric"], sort=False):
            own = Line(line.label, line.style, rows)
            text = trend(own, "K") if block in NETWORKS else f"{line.label}: {rows['value'].iloc[0]:.3g}"
            texts.append(f"{visible(str(block))}, {PARTS[str(metric)][1]}, {text}")
    return f"Line chart on log axes. {'. '.join(texts)}."


figure = FigureKind(
    title="Noise from the data and noise from the samples",
    section="gradients",
    needs=("snr",),
    command=COMMAND,
    definition=(
        "Law of total variance for B points drawn with replacement: Var = Var_b(μ_b)/B + E_b(v_b)/(B M), μ_b and "
        "v_b the mean "
        "and variance of one point's gradient, in traces. The estimate of Var_b(μ_b) is free of the error of the μ_b."
    ),
    uncertainty="Bands: 95 % intervals, jackknife over data points.",
    draw=draw,
)
