"""Data points beside their reconstructions from q and from q_IW."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.style import Look

Array = npt.NDArray[np.float64]

KINDS = {"input": "input", "q": "z ~ q(z|x)", "q_iw": "z ~ q$_{IW}$, k = %d"}

COMMAND = "snrkit reconstruct --ckpt CHECKPOINT"
# Empty pixels around an image.
_GAP = 1
# In units of the text size.
_MARGIN, _TITLE = 3.5, 2.2
# Pixels that fill the text width, so that a few small images are not blown up.
_LEAST_PIXELS = 120


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw the reconstructions of every run that has some, one run below the other."""
    images = tables["reconstructions"]
    if images.empty:
        return Missing(f"no reconstructions.parquet found: run '{COMMAND}'")
    return draw_tables([group for _, group in images.groupby("source", sort=False)], look)


def draw_tables(tables: Sequence[pd.DataFrame], look: Look) -> Drawing:
    """Draw tables of ``snrkit reconstruct``, one below the other.

    Args:
        tables: one row per image.
        look: sizes.
    """
    columns = ["run", "step", "data", "k", "seed", "height", "width", "point", "kind", "sample", "pixels"]
    data = pd.concat([table[columns] for table in tables], ignore_index=True)
    data["pixels"] = data["pixels"].map(lambda pixels: " ".join(f"{value:.4g}" for value in pixels))
    return Drawing(_figure(tables, look), data, _caption(tables), _alt(tables))


def _figure(tables: Sequence[pd.DataFrame], look: Look) -> Figure:
    tiles = [{kind: _tiled(table[table["kind"] == kind]) for kind in KINDS} for table in tables]
    widths = [max(images[kind].shape[1] for images in tiles) for kind in KINDS]
    heights = [images["input"].shape[0] for images in tiles]
    # One scale for all, so that a pixel is as large in every panel.
    inches = (look.column - _MARGIN * look.em) / max(sum(widths), _LEAST_PIXELS)
    size = look.column, inches * sum(heights) + (_TITLE + (1.6 if len(tables) > 1 else 0)) * look.em * len(tables)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tables), len(KINDS), squeeze=False, width_ratios=widths, height_ratios=heights)
    for row, table, images in zip(panels, tables, tiles, strict=True):
        for axes, (kind, title) in zip(row, KINDS.items(), strict=True):
            axes.imshow(images[kind], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
            axes.set_title(title % table["k"].iloc[0] if kind == "q_iw" else title)
            axes.set_axis_off()
        if len(tables) > 1:
            above = (0, 1.9 * look.font)
            name = str(table["run"].iloc[0]).replace("$", r"\$")
            row[0].annotate(name, (0, 1), above, xycoords="axes fraction", textcoords="offset points")
    return figure


def _tiled(images: pd.DataFrame) -> Array:
    """The images as one: a row per point, a column per sample."""
    height, width = int(images["height"].iloc[0]), int(images["width"].iloc[0])
    ordered = images.sort_values(["point", "sample"])
    pixels = np.array(ordered["pixels"].tolist(), dtype=float)
    grid = pixels.reshape(images["point"].nunique(), -1, height, width)
    framed = np.pad(grid, ((0, 0), (0, 0), (_GAP, _GAP), (_GAP, _GAP)))
    tiled: Array = framed.swapaxes(1, 2).reshape(len(framed) * framed.shape[2], -1)
    return tiled


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    runs = "; ".join(
        f"{table['run'].iloc[0]}, step {table['step'].iloc[0]}, {table['data'].iloc[0]}, k = {table['k'].iloc[0]}, "
        f"seed {table['seed'].iloc[0]}"
        for table in tables
    )
    return (
        "Test points (left) beside Bernoulli means of reconstructions: z drawn from the proposal q(z|x), and z drawn from "
        "q_IW, one of k proposals kept with probability its normalised importance weight. A sample of q is the first of the "
        f"k that its neighbour on the right was chosen from. {runs}."
    )


def _alt(tables: Sequence[pd.DataFrame]) -> str:
    shown = "; ".join(f"{table['run'].iloc[0]}, {table['point'].nunique()} test points" for table in tables)
    return f"Grey images in three groups of columns: inputs, reconstructions from q, and from q_IW. {shown}."


figure = FigureKind(
    title="Reconstructions",
    section="bound",
    needs=("reconstructions",),
    command=COMMAND,
    definition=(
        "Bernoulli means given z. q_IW draws k samples from q and keeps one with probability its normalised importance "
        "weight; as k grows it comes close to the posterior."
    ),
    uncertainty="Single draws, side by side: their differences show the spread.",
    draw=draw,
)
