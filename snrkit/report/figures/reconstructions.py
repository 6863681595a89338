"""Data points beside their reconstructions from q and from q_IW."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.escape import mathtext
from snrkit.report.style import Look
from snrkit.types import Array

KINDS = {"input": "input", "q": "z ~ q(z|x)", "q_iw": "z ~ q$_{IW}$, k = %d"}

COMMAND = "snrkit reconstruct --ckpt CHECKPOINT"
# Of the SSIM that snrkit.evaluation.ssim computes, whose module loads torch; a test compares.
WINDOW = "11x11 Gaussian window, sigma 1.5, range 1"
# Empty pixels around an image.
_GAP = 1
# In units of the text size: margin, room between panels, and height of a line of text.
_EDGE, _BETWEEN, _LINE = 0.4, 0.8, 1.5
# Pixels that fill the text width, so that a few small images are not blown up.
_LEAST_PIXELS = 120
# Inches: a page.
_TALLEST = 8.5


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw the reconstructions of every run that has some, one run below the other."""
    images = tables["reconstructions"]
    if images.empty:
        return Missing(f"no reconstructions.parquet found: run '{COMMAND}'")
    shown, notes = _on_a_page([group for _, group in images.groupby("source", sort=False)], look)
    return replace(draw_tables(shown, look), notes=notes)


def _on_a_page(tables: Sequence[pd.DataFrame], look: Look) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """The first points of each table, as many as fit, and a line about the others."""
    row = _pixel(tables, look) * sum(int(table["height"].iloc[0]) + 2 * _GAP for table in tables)
    most = max(1, int((_TALLEST - len(tables) * _head(tables) * look.em) / row))
    points = max(table["point"].nunique() for table in tables)
    if points <= most:
        return list(tables), ()
    cut = [table[table["point"].isin(sorted(table["point"].unique())[:most])] for table in tables]
    return cut, (f"{points - most} of {points} test points of a run do not fit and are not drawn",)


def draw_tables(tables: Sequence[pd.DataFrame], look: Look) -> Drawing:
    """Draw tables of ``snrkit reconstruct``, one below the other.

    Args:
        tables: one row per image.
        look: sizes.
    """
    columns = ["run", "step", "data", "k", "seed", "height", "width", "point", "kind", "sample", "pixels"]
    columns += ["ssim"] if any(_has_ssim(table) for table in tables) else []
    data = pd.concat([table.reindex(columns=columns) for table in tables], ignore_index=True)
    data["pixels"] = data["pixels"].map(lambda pixels: " ".join(f"{value:.4g}" for value in pixels))
    return Drawing(_figure(tables, look), data, _caption(tables), _alt(tables))


def _figure(tables: Sequence[pd.DataFrame], look: Look) -> Figure:
    pixel, head = _pixel(tables, look), _head(tables) * look.em
    widths = _widths(tables, pixel, look)
    tiles = [{kind: _tiled(table[table["kind"] == kind]) for kind in KINDS} for table in tables]
    y = sum(head + pixel * len(images["input"]) for images in tiles) + _EDGE * look.em
    size = look.column, y
    figure = Figure(figsize=size)
    for table, images in zip(tables, tiles, strict=True):
        y -= head + pixel * len(images["input"])
        x = _EDGE * look.em
        for (kind, title), width in zip(_titles(table).items(), widths, strict=True):
            height, wide = images[kind].shape
            axes = figure.add_axes((x / size[0], y / size[1], wide * pixel / size[0], height * pixel / size[1]))
            axes.imshow(images[kind], cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            axes.set_title(title, x=0, ha="left")
            axes.set_axis_off()
            if len(tables) > 1 and kind == "input":
                _name(axes, table, look)
            x += width + _BETWEEN * look.em
    return figure


def _name(axes: Axes, table: pd.DataFrame, look: Look) -> None:
    """The run's name above the titles of its panels."""
    above = (0, (_lines(table) * _LINE + 0.3) * look.font)
    name = mathtext(str(table["run"].iloc[0]))
    axes.annotate(name, (0, 1), above, xycoords="axes fraction", textcoords="offset points")


def _titles(table: pd.DataFrame) -> dict[str, str]:
    """Kind -> title of its panel, with the mean SSIM where that is known."""
    titles = {kind: title % table["k"].iloc[0] if kind == "q_iw" else title for kind, title in KINDS.items()}
    below = {kind: f"SSIM {mean:.3f}" for kind, mean in _mean_ssim(table).items()}
    return {kind: f"{title}\n{below.get(kind, '')}" for kind, title in titles.items()} if below else titles


def _has_ssim(table: pd.DataFrame) -> bool:
    return "ssim" in table and bool(table["ssim"].notna().any())


def _mean_ssim(table: pd.DataFrame) -> dict[str, float]:
    """Kind -> mean over its images; empty where it was not computed."""
    if not _has_ssim(table):
        return {}
    return {kind: float(table.loc[table["kind"] == kind, "ssim"].mean()) for kind in ("q", "q_iw")}


def _lines(table: pd.DataFrame) -> int:
    return 2 if _has_ssim(table) else 1


def _head(tables: Sequence[pd.DataFrame]) -> float:
    """Height of what stands above the images of a table, in text sizes."""
    return (max(map(_lines, tables)) + (len(tables) > 1)) * _LINE + 0.5


def _pixel(tables: Sequence[pd.DataFrame], look: Look) -> float:
    """Inches per pixel, one scale for all: as large as the column allows."""
    room = look.column - (2 * _EDGE + 2 * _BETWEEN) * look.em
    pixel = room / _LEAST_PIXELS
    while sum(_widths(tables, pixel, look)) > room:
        pixel *= 0.98
    return pixel


def _widths(tables: Sequence[pd.DataFrame], pixel: float, look: Look) -> list[float]:
    """Inches across of each kind's panels: as wide as the images and as their titles."""
    letter = look.em / look.letters_per_em
    widths = []
    for kind in KINDS:
        across = max(
            (int(table["width"].iloc[0]) + 2 * _GAP) * table.loc[table["kind"] == kind, "sample"].nunique()
            for table in tables
        )
        lines = [line for table in tables for line in re.sub(r"[${}_]", "", _titles(table)[kind]).split("\n")]
        widths.append(max(across * pixel, letter * max(map(len, lines))))
    return widths


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
    similar = (
        f" SSIM: mean over the images shown of their structural similarity with the input ({WINDOW}); 1 is the same image."
        if any(map(_has_ssim, tables))
        else ""
    )
    return (
        "Test points (left) beside Bernoulli means of reconstructions: z drawn from the proposal q(z|x), and z drawn from "
        "q_IW, one of k proposals kept with probability its normalised importance weight. A sample of q is the first of the "
        f"k that its neighbour on the right was chosen from.{similar} {runs}."
    )


def _alt(tables: Sequence[pd.DataFrame]) -> str:
    shown = "; ".join(
        f"{table['run'].iloc[0]}, {table['point'].nunique()} test points"
        + "".join(f", mean SSIM of {kind} {mean:.3f}" for kind, mean in _mean_ssim(table).items())
        for table in tables
    )
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
