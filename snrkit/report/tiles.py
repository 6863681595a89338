"""Images side by side: bands of panels, one band a run, every pixel of the same size."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snrkit.report.escape import mathtext
from snrkit.report.style import Look
from snrkit.types import Array

# Empty pixels around an image.
_GAP = 1
# In units of the text size: margin, room between panels, and height of a line of text.
_EDGE, _BETWEEN, _LINE = 0.4, 0.8, 1.5
# Pixels that fill the text width, so that a few small images are not blown up.
_LEAST_PIXELS = 120
# Inches: a page.
_TALLEST = 8.5


@dataclass(frozen=True)
class Band:
    """The panels of a run, from left to right.

    Attributes:
        name: of the run, which is shown where there are several.
        panels: title of each, of one line or two, to its images, ``[rows, columns, height, width]``; the number of rows, and
            the size of the images, are the same in all.
    """

    name: str
    panels: Mapping[str, Array]

    @property
    def rows(self) -> int:
        """Rows of images."""
        return len(next(iter(self.panels.values())))

    @property
    def height(self) -> int:
        """Pixels down, frames included."""
        return self.rows * (int(next(iter(self.panels.values())).shape[2]) + 2 * _GAP)

    @property
    def lines(self) -> int:
        """Lines of its titles."""
        return max(title.count("\n") + 1 for title in self.panels)


def images_of(table: pd.DataFrame) -> Array:
    """The pixels of a table of images of one size, in its order, as ``[rows, height, width]``."""
    height, width = int(table["height"].iloc[0]), int(table["width"].iloc[0])
    return np.array(table["pixels"].tolist(), dtype=float).reshape(-1, height, width)


def only_images(table: pd.DataFrame, what: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows that are images, and a line about each run whose rows are sentences.

    Args:
        table: of a kind of result that has either (see ``runs.kinds.images``).
        what: is in it, in a word.
    """
    if "pixels" not in table:
        return table.iloc[:0], tuple(f"{what} of {run} are sentences: read its table" for run in table["run"].unique())
    images = table[table["pixels"].notna()]
    others = table.loc[table["pixels"].isna(), "run"].unique()
    return images, tuple(f"{what} of {run} are sentences: read its table" for run in others)


def shown_pixels(pixels: "pd.Series[Any]") -> "pd.Series[str]":
    """Images as texts of their numbers, row by row, as the table beside a figure has them."""
    return pixels.map(lambda image: " ".join(f"{value:.4g}" for value in image))


def corner(row: int, column: int, height: int, width: int) -> tuple[int, int]:
    """Where a panel has the first pixel of the image in that row and column: x and y of its centre, in pixels."""
    return column * (width + 2 * _GAP) + _GAP, row * (height + 2 * _GAP) + _GAP


def rows_on_a_page(bands: Sequence[Band], look: Look) -> int:
    """How many rows of images fit a page, of every band; at least one."""
    row = _pixel(bands, look) * sum(band.height / band.rows for band in bands)
    return max(1, int((_TALLEST - len(bands) * _head(bands) * look.em) / row))


def draw(bands: Sequence[Band], look: Look) -> Figure:
    """The bands, one below the other."""
    pixel, head = _pixel(bands, look), _head(bands) * look.em
    widths = _widths(bands, pixel, look)
    y = sum(head + pixel * band.height for band in bands) + _EDGE * look.em
    size = look.column, y
    figure = Figure(figsize=size)
    for band in bands:
        y -= head + pixel * band.height
        x = _EDGE * look.em
        for number, ((title, images), width) in enumerate(zip(band.panels.items(), widths, strict=False)):
            tiled = _tiled(images)
            height, wide = tiled.shape
            axes = figure.add_axes((x / size[0], y / size[1], wide * pixel / size[0], height * pixel / size[1]))
            axes.imshow(tiled, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
            axes.set_title(title, x=0, ha="left")
            axes.set_axis_off()
            if len(bands) > 1 and number == 0:
                _name(axes, band, look)
            x += width + _BETWEEN * look.em
    return figure


def _name(axes: Axes, band: Band, look: Look) -> None:
    """The run's name above the titles of its panels."""
    above = (0, (band.lines * _LINE + 0.3) * look.font)
    axes.annotate(mathtext(band.name), (0, 1), above, xycoords="axes fraction", textcoords="offset points")


def _head(bands: Sequence[Band]) -> float:
    """Height of what stands above the images of a band, in text sizes."""
    return (max(band.lines for band in bands) + (len(bands) > 1)) * _LINE + 0.5


def _pixel(bands: Sequence[Band], look: Look) -> float:
    """Inches per pixel, one scale for all: as large as the column allows."""
    gaps = max(len(band.panels) for band in bands) - 1
    room = look.column - (2 * _EDGE + gaps * _BETWEEN) * look.em
    pixel = room / _LEAST_PIXELS
    while sum(_widths(bands, pixel, look)) > room:
        pixel *= 0.98
    return pixel


def _widths(bands: Sequence[Band], pixel: float, look: Look) -> list[float]:
    """Inches across of the panels at each place: as wide as the images and as their titles."""
    letter = look.em / look.letters_per_em

    def width(title: str, images: Array) -> float:
        lines = re.sub(r"[${}_]", "", title).split("\n")
        return float(max((images.shape[3] + 2 * _GAP) * images.shape[1] * pixel, letter * max(map(len, lines))))

    places = itertools.zip_longest(*(band.panels.items() for band in bands))
    return [max(width(*panel) for panel in place if panel is not None) for place in places]


def _tiled(images: Array) -> Array:
    """Images ``[rows, columns, height, width]`` as one."""
    framed = np.pad(images, ((0, 0), (0, 0), (_GAP, _GAP), (_GAP, _GAP)))
    tiled: Array = framed.swapaxes(1, 2).reshape(len(framed) * framed.shape[2], -1)
    return tiled
