"""Noise of a random minibatch's gradient: from which points it holds, and from which samples were drawn."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.axes import log_limits, log_x, log_y
from snrkit.report.blocks import NETWORKS
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import KEY, Line, comparable, fewest, joined, latest, several, solid, trend, usable
from snrkit.report.naming import OF_MODEL, named_lines
from snrkit.report.repetitions import readings_over_seeds, seeds_caption
from snrkit.report.style import Look

COMMAND = "snrkit snr --ckpt CHECKPOINT --K 1,10,100 --data-points 50"

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


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Both parts against K at each line's smallest M, errors over data points."""
    readings = tables["snr"]
    chosen = readings["metric"].isin(PARTS) & readings["block"].isin(NETWORKS) & (readings["scope"] == "dataset")
    rows, notes = usable(latest(readings[chosen]))
    if rows.empty:
        return Missing(f"the parts of the noise were not measured: run '{COMMAND}'")
    rows = readings_over_seeds(rows)
    groups = [g[g["M"] == g["M"].min()] for _, g in rows.groupby(KEY, sort=False, dropna=False)]
    groups, few = comparable(
        [g.drop_duplicates(["block", "metric", "K"], keep="last").sort_values("K") for g in groups]
    )
    groups, over = fewest(several(groups, "K"))
    found = solid(named_lines(groups, [*OF_MODEL, "M", "data", "seed", "method", "step"]))
    data = pd.concat([line.rows for line in found], ignore_index=True)
    blocks = [block for block in NETWORKS if (data["block"] == block).any()]
    key = [
        Line2D([], [], color=style.DARK_GREY, linestyle=dashes, label=label, marker="o", markerfacecolor=_fill(metric))
        for metric, (dashes, label) in PARTS.items()
    ]
    figure, axes = panels(look, len(blocks), handles=[*(line.handle() for line in found), *key], share_y=True)
    samples = sorted(int(k) for k in data["K"].unique())
    for place, block in zip(axes, blocks, strict=True):
        log_x(place, samples, log_limits(samples[0], samples[-1], pad=0.05))
        log_y(place, log_limits(float(data["value"].min()), float(data["value"].max()), pad=0.12))
        _draw_lines(place, block, found)
        place.set_title(NETWORKS[block])
        place.set_xlabel("samples K")
    axes[0].set_ylabel("variance × batch size")
    return Drawing(figure, data[_TWIN], _caption(data), _alt(found), (*notes, *few, *over))


def _draw_lines(axes: Axes, block: str, found: Sequence[Line]) -> None:
    bottom = axes.get_ylim()[0]
    for line in found:
        for metric, (dashes, _) in PARTS.items():
            rows = line.rows[(line.rows["block"] == block) & (line.rows["metric"] == metric)]
            if rows.empty:
                continue
            look = line.style
            low, high = rows["ci_low"].clip(lower=bottom), rows["ci_high"]
            if len(rows) > 1:
                axes.fill_between(rows["K"].astype(float), low, high, color=look.colour, alpha=0.15, linewidth=0)
            else:
                axes.vlines(rows["K"], low, high, color=look.colour)
            axes.plot(
                rows["K"], rows["value"], color=look.colour, linestyle=dashes, marker=look.marker, label=line.label,
                gid=metric, markerfacecolor=_fill(metric) or look.colour,
            )  # fmt: skip


def _fill(metric: str) -> str | None:
    """Hollow markers for the Monte Carlo part: where a line is one point, dashes cannot tell the parts apart."""
    return "white" if metric == "monte_carlo_variance" else None


def _caption(data: pd.DataFrame) -> str:
    return (
        "Trace of the variance of the gradient of a minibatch of B random data points, times B, split into the "
        "part from which "
        "points it holds and the part from which samples were drawn, against K at M = "
        f"{joined(sorted(data['M'].unique()))} ({joined(data['data'].unique())}). The second part falls as 1/M: the "
        "ratio of the two is the M at "
        f"which they are equal. Bands: 95 % intervals over data points{seeds_caption(data)}."
    )


def _alt(found: Sequence[Line]) -> str:
    texts = []
    for line in found:
        for (block, metric), rows in line.rows.groupby(["block", "metric"], sort=False):
            texts.append(f"{block}, {PARTS[str(metric)][1]}, {trend(Line(line.label, line.style, rows), 'K')}")
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
