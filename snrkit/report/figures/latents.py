"""Scatter plots of two-dimensional latent variables."""

from collections.abc import Sequence

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.style import Look
from snrkit.runs.kinds.latents import LATENTS

COMMAND = "snrkit evaluate --keep-means --ckpt CHECKPOINT"

_TWIN = ["run", "step", "data", "layer", "point", "label", "z1", "z2"]
# Ten colours, as many as the data sets here have labels.
_COLOURS = colormaps["tab10"]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw E_q[z|x] of the test points, coloured by label, for every two-dimensional latent layer of every run."""
    means = tables["latents"]
    layers = (
        [layer for _, own in means.groupby("source", sort=False) for layer in _flat_layers(own)] if len(means) else []
    )
    if not layers:
        problem = "no latents.parquet with a two-dimensional layer found"
        return Missing(f"{problem}: run '{COMMAND}' on a model with such a layer")
    data = pd.concat(layers, ignore_index=True)
    return Drawing(_figure(layers, look), data[_TWIN], _caption(data), _alt(data))


def _flat_layers(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The layers with exactly two dimensions; rows of a narrower layer are NaN in the columns that it lacks."""
    dimensions = list(LATENTS.numbered(list(table.columns)))
    layers = [layer for _, layer in table.groupby("layer")]
    return [layer for layer in layers if layer[dimensions].notna().any().sum() == 2]


def _figure(layers: Sequence[pd.DataFrame], look: Look) -> Figure:
    names = sorted({int(label) for layer in layers for label in layer["label"].dropna()})
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=_COLOURS(name % _COLOURS.N), label=str(name))
        for name in names
    ]
    result, places = panels(look, len(layers), handles=handles)
    for axes, layer in zip(places, layers, strict=True):
        _panel(axes, layer, look)
    return result


def _panel(axes: Axes, panel: pd.DataFrame, look: Look) -> None:
    groups = {str(label): points for label, points in panel.groupby(panel["label"].astype("Int64"))}
    for name, points in groups.items():
        _dots(axes, points, _COLOURS(int(name) % _COLOURS.N), name)
    if not groups:
        _dots(axes, panel, style.DARK_GREY, "")
    layer = f", layer {panel['layer'].iloc[0]}" if panel["layer"].iloc[0] > 1 else ""
    axes.set_title(style.wrapped(f"{panel['run'].iloc[0]}{layer}", look.letters(0.4 * look.column)))
    axes.set_xlabel("E$_q$[z$_1$|x]")
    axes.set_ylabel("E$_q$[z$_2$|x]")


def _dots(axes: Axes, points: pd.DataFrame, colour: str | tuple[float, ...], label: str) -> None:
    axes.plot(
        points["z1"], points["z2"], linestyle="none", marker=".", markersize=1.5, color=colour, label=label or None,
        rasterized=True,
    )  # fmt: skip


def _caption(data: pd.DataFrame) -> str:
    runs = "; ".join(
        f"{run}, step {step}, {name}, {len(rows)} points"
        for (run, step, name), rows in data.groupby(["run", "step", "data"])
    )
    return f"Means of the proposal q(z|x) over a two-dimensional latent layer, one dot per test point. {runs}."


def _alt(data: pd.DataFrame) -> str:
    parts = [f"{run}, layer {layer}: {len(rows)} points" for (run, layer), rows in data.groupby(["run", "layer"])]
    return (
        f"Scatter plots of two-dimensional latent means, coloured by label where there are labels. {'; '.join(parts)}."
    )


figure = FigureKind(
    title="Two-dimensional latent space",
    section="bound",
    needs=("latents",),
    command=COMMAND,
    definition="E_q[z|x], the mean of the proposal, of each test point.",
    uncertainty="Dots are means; the spread of q around them is not shown.",
    draw=draw,
)
