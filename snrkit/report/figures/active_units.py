"""How many latent dimensions carry information."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import named_rows, panels
from snrkit.report.lines import Line, fewest, joined
from snrkit.report.naming import named_lines
from snrkit.report.repetitions import by_samples, last_evaluations, own_data, settings, steps_notes
from snrkit.report.style import Look

COMMAND = "snrkit evaluate --ckpt CHECKPOINT"

_TWIN = [
    "line", "run", "metric", "value", "seeds", "ci_low", "ci_high", "runs", "data", "trained_on", "estimator", "options",
    "M", "K",
]  # fmt: skip


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """A row per setting; layers of a hierarchical model one beside the other."""
    rows = tables["evaluations"]
    rows = rows[rows["layer"].notna()]
    rows = rows[np.isfinite(rows["value"].astype(float))]
    if rows.empty:
        return Missing(f"active units were not counted: run '{COMMAND}'")
    groups, over = fewest([group for _, group in _counted(rows).groupby(["setting", "data"], sort=False)])
    found = named_lines(groups, ["M", "K", "trained_on", "data", "model"])
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
    return Drawing(figure, data[_TWIN], _caption(data), _alt(found), (*over, *steps_notes(data)))


def _counted(rows: pd.DataFrame) -> pd.DataFrame:
    """Counts of every setting, with those of its seeds; with an interval where there is a single run.

    Two seeds say nothing about a spread that could not leave the range of counts, so they stand for themselves.
    """
    rows, by = by_samples(own_data(last_evaluations(rows))), ["setting", "data", "metric"]
    each = rows.groupby(by, sort=False)["value"].agg(list)
    counted = settings(rows, by[1:]).merge(each.rename("each").reset_index(), on=by)
    latents = counted["dimensions"].astype(float)
    alone = counted["runs"] == 1
    ends = {end: counted[end].clip(0, latents.fillna(np.inf)).where(alone) for end in ("ci_low", "ci_high")}
    return counted.assign(**ends, latents=latents, seeds=counted["each"].map(_listed))


def _listed(counts: Sequence[float]) -> str:
    return ", ".join(f"{count:g}" for count in counts)


def _panel(axes: Axes, metric: str, found: Sequence[Line]) -> None:
    for place, line in enumerate(found):
        rows = line.rows[line.rows["metric"] == metric]
        if rows.empty:
            continue
        row = rows.iloc[0]
        if row["runs"] > 1:
            high = 2 * float(mpl.rcParams["lines.markersize"])
            axes.plot(
                row["each"], [place] * len(row["each"]), marker="|", markersize=high, color=line.style.colour,
                linestyle="none", gid="seed",
            )  # fmt: skip
        else:
            axes.hlines(place, row["ci_low"], row["ci_high"], color=line.style.colour)
        axes.plot(
            row["value"], place, marker=line.style.marker, color=line.style.colour, linestyle="none", gid="count",
            clip_on=False,
        )  # fmt: skip
    axes.set_ylim(len(found) - 0.5, -0.5)
    own = pd.concat([line.rows for line in found]).query("metric == @metric")
    latents = own["latents"].max()
    axes.set_xlim(0, 1.05 * latents if np.isfinite(latents) else None)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    layer = int(own["layer"].iloc[0])
    axes.set_xlabel(f"active units, {layer}" if layer else "active units")


def _caption(data: pd.DataFrame) -> str:
    seeds = " Symbols: means over seeds; upright strokes: each seed." if data["runs"].max() > 1 else ""
    bars = " Bars: 95 % intervals of single runs, bootstrap over points." if data["runs"].min() == 1 else ""
    definition, tested = joined(data["definition"].unique()), joined(data["data"].unique())
    return f"Active units: {definition}. Evaluated on {tested}.{seeds}{bars}"


def _alt(found: Sequence[Line]) -> str:
    texts = [f"{line.label}: {', '.join(map(_told, line.rows.to_dict('records')))}" for line in found]
    return f"Dot chart of the number of active units, a row for each setting. {'; '.join(texts)}."


def _told(row: Mapping[Hashable, Any]) -> str:
    return f"{row['value']:g} (seeds {row['seeds']})" if row["runs"] > 1 else f"{row['value']:g}"


figure = FigureKind(
    title="Active units",
    section="bound",
    needs=("evaluations",),
    command=COMMAND,
    definition="A latent dimension is active if Var_x(E_q[z_d]) > 0.01 over the test points (Burda et al. 2016).",
    uncertainty="Strokes: each seed of a setting; bars: 95 % intervals of single runs, bootstrap over test points.",
    draw=draw,
)
