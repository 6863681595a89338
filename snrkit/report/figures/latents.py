"""Scatter plots of latent variables: of two dimensions as they are, of more by two principal components."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.naming import name_of
from snrkit.report.style import Look
from snrkit.runs.kinds.latents import LATENTS

COMMAND = "snrkit evaluate --keep-means --ckpt CHECKPOINT"

_TWIN = ["run", "step", "data", "layer", "point", "label", "z1", "z2"]
_LATENT, _PRINCIPAL = "latent", "principal"
# Fewer say nothing about how they are spread.
_LEAST_POINTS = 3
# Ten colours, as many as the data sets here have labels.
_COLOURS = colormaps["tab10"]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw E_q[z|x] of the test points of every run, coloured by label.

    Of every two-dimensional latent layer as it is; of a run that has none, two principal components of all its layers.
    """
    means = tables["latents"]
    panels = [panel for _, own in means.groupby("source", sort=False) for panel in _panels(own)] if len(means) else []
    if not panels:
        return Missing(f"no latents.parquet with two dimensions of z found: run '{COMMAND}'")
    data = pd.concat(panels, ignore_index=True)
    shown = [*_TWIN, "axes", "explained"] if (data["axes"] == _PRINCIPAL).any() else _TWIN
    return Drawing(_figure(panels, look), data[shown], _caption(data), _alt(data))


def _panels(table: pd.DataFrame) -> list[pd.DataFrame]:
    flat = _flat_layers(table)
    return [layer.assign(axes=_LATENT, explained=float("nan")) for layer in flat] or _principal(table)


def _flat_layers(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The layers with exactly two dimensions; rows of a narrower layer are NaN in the columns that it lacks."""
    dimensions = list(LATENTS.numbered(list(table.columns)))
    layers = [layer for _, layer in table.groupby("layer")]
    return [layer for layer in layers if layer[dimensions].notna().any().sum() == 2]


def _principal(table: pd.DataFrame) -> list[pd.DataFrame]:
    """The points by the first two principal components of the means of all layers side by side; none where there is one.

    A component points to where the dimension that it is most made of grows.
    """
    dimensions = list(LATENTS.numbered(list(table.columns)))
    wide = table.pivot_table(index="point", columns="layer", values=dimensions, dropna=False)
    wide = wide.dropna(axis="columns", how="all").dropna()
    if len(wide) < _LEAST_POINTS or wide.shape[1] < 2:
        return []
    centred = wide.to_numpy() - wide.to_numpy().mean(axis=0)
    _, lengths, directions = np.linalg.svd(centred, full_matrices=False)
    if not lengths[0] > 0:
        return []
    signs = np.sign(directions[np.arange(2), np.abs(directions[:2]).argmax(axis=1)])
    places = centred @ (signs[:, None] * directions[:2]).T
    first = table.drop_duplicates("point").set_index("point").loc[wide.index].reset_index()
    shares = lengths[:2] ** 2 / (lengths**2).sum()
    return [
        first.assign(
            z1=places[:, 0], z2=places[:, 1], layer=0, axes=_PRINCIPAL, explained=" ".join(f"{s:.4f}" for s in shares)
        )
    ]


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
    principal = panel["axes"].iloc[0] == _PRINCIPAL
    axes.set_title(style.wrapped(f"{name_of(panel)}{layer}", look.letters(0.4 * look.column)))
    names = ["E$_q$[z$_1$|x]", "E$_q$[z$_2$|x]"]
    if principal:
        shares = map(float, panel["explained"].iloc[0].split())
        names = [f"component {number} ({share:.0%})" for number, share in enumerate(shares, start=1)]
    axes.set_xlabel(names[0])
    axes.set_ylabel(names[1])


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
    flat, principal = ((data["axes"] == axes).any() for axes in (_LATENT, _PRINCIPAL))
    of = "over a two-dimensional latent layer, one dot per test point" if flat else "of test points, one dot each"
    components = (
        "; of z of other than two dimensions the first two principal components of the means of all layers, with their "
        "shares of the variance"
        if principal
        else ""
    )
    return f"Means of the proposal q(z|x) {of}{components}. {runs}."


def _alt(data: pd.DataFrame) -> str:
    groups = data.groupby(["run", "layer"])
    parts = [
        f"{run}, {f'layer {layer}' if layer else 'all layers'}: {len(rows)} points" for (run, layer), rows in groups
    ]
    flat = (data["axes"] == _LATENT).all()
    what = "two-dimensional latent means" if flat else "latent means in two dimensions"
    return f"Scatter plots of {what}, coloured by label where there are labels. {'; '.join(parts)}."


figure = FigureKind(
    title="Latent space",
    section="bound",
    needs=("latents",),
    command=COMMAND,
    definition=(
        "E_q[z|x], the mean of the proposal, of each test point: of a two-dimensional layer as it is, else its first two "
        "principal components over all layers."
    ),
    uncertainty="Dots are means; the spread of q around them is not shown.",
    draw=draw,
)
