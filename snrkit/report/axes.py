"""Logarithmic axes, places for short guides, and labels that keep their distance."""

import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from snrkit.report.style import DARK_GREY
from snrkit.types import Array

GUIDE_WIDTH = 0.3
_LABEL_SIZE = (0.3, 0.14)
_NEAREST_TICKS = 0.12


def log_limits(low: float, high: float, pad: float = 0.08, least_ratio: float = 4.0) -> tuple[float, float]:
    """Limits of a log axis around a positive range: padded, and never narrower than a ratio."""
    bottom, top = math.log10(low), math.log10(high)
    margin = max(pad * (top - bottom), (math.log10(least_ratio) - (top - bottom)) / 2, 0.02)
    return 10 ** (bottom - margin), 10 ** (top + margin)


def log_y(axes: Axes, limits: tuple[float, float]) -> None:
    """A log y axis: decades labelled, and 2 and 5 too where there are fewer than two decades."""
    axes.set_yscale("log")
    axes.set_ylim(*limits)
    subs = (1.0,) if math.log10(limits[1] / limits[0]) >= 2 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.yaxis.set_minor_locator(LogLocator(subs=range(2, 10)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def log_x(axes: Axes, values: Sequence[int], limits: tuple[float, float]) -> None:
    """A log x axis with a tick at each of the values; the labels that would touch the one before are left off."""
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    least = _NEAREST_TICKS * math.log10(limits[1] / limits[0])
    labelled: list[int] = []
    for value in values:
        if not labelled or math.log10(value / labelled[-1]) >= least:
            labelled.append(value)
    axes.xaxis.set_major_locator(FixedLocator(labelled))
    axes.xaxis.set_major_formatter(FuncFormatter(_plain))
    axes.xaxis.set_minor_locator(FixedLocator([value for value in values if value not in labelled]))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: int | None) -> str:
    # A function of the module, so that figures can be pickled.
    return f"{value:g}"


def slope_guide(axes: Axes, slope: float, label: str, drawn: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """A short thin line of a given slope with its label, where it is farthest from what is drawn; returns its (x, y).

    Args:
        axes: log-log axes with their final limits.
        slope: d log y / d log x.
        label: what to write beside it.
        drawn: (x, y) of each drawn line.
    """
    decades = np.array([math.log10(high / low) for low, high in (axes.get_xlim(), axes.get_ylim())])
    rise = slope * GUIDE_WIDTH * decades[0] / decades[1]
    shape = _guide_shape(rise)
    corner = _emptiest(shape, _in_axes_units(axes, drawn))
    ends = corner + np.array([[0.0, max(0.0, -rise)], [GUIDE_WIDTH, max(0.0, rise)]])
    thin = 0.6 * mpl.rcParams["lines.linewidth"]
    axes.plot(*ends.T, transform=axes.transAxes, color=DARK_GREY, linewidth=thin, gid="guide", zorder=1)
    middle = ends.mean(axis=0)
    # Above the line, on the side towards which it falls, so that it does not cross the text.
    side = "left" if slope < 0 else "right"
    shift = 0.01 if slope < 0 else -0.01
    axes.text(
        middle[0] + shift, middle[1] + 0.015, label, transform=axes.transAxes, ha=side, va="bottom", color=DARK_GREY,
        fontsize=mpl.rcParams["xtick.labelsize"],
    )  # fmt: skip
    taken = corner + shape
    low, span = np.log10(axes.get_xlim()[0]), decades[0]
    bottom, rows = np.log10(axes.get_ylim()[0]), decades[1]
    return 10 ** (low + span * taken[:, 0]), 10 ** (bottom + rows * taken[:, 1])


def _guide_shape(rise: float) -> Array:
    """Points of the guide and of its label, relative to the lower left corner of the guide, in axes units."""
    along = np.linspace(0, 1, 8)
    line = np.stack([along * GUIDE_WIDTH, along * rise - min(0.0, rise)], axis=1)
    width, height = _LABEL_SIZE
    across, up = np.meshgrid(np.linspace(0, width if rise < 0 else -width, 4), np.linspace(0, height, 3))
    text = np.stack([across.ravel(), up.ravel()], axis=1) + np.array([GUIDE_WIDTH, abs(rise)]) / 2
    return np.concatenate([line, text])


def _in_axes_units(axes: Axes, drawn: Sequence[tuple[Array, Array]]) -> Array:
    """Points along lines, in fractions of log-log axes."""
    limits = np.log10([axes.get_xlim(), axes.get_ylim()])
    points = []
    for x, y in drawn:
        at = (np.log10([x, y]).T - limits[:, 0]) / (limits[:, 1] - limits[:, 0])
        steps = np.linspace(0, len(at) - 1, 30 * len(at))
        points.append(np.stack([np.interp(steps, np.arange(len(at)), part) for part in at.T], axis=1))
    return np.concatenate(points)


def _emptiest(shape: Array, occupied: Array) -> Array:
    """Where in the unit square to put a shape so that its nearest neighbour is farthest away."""
    low, high = 0.03 - shape.min(axis=0), 0.97 - shape.max(axis=0)
    grid = np.stack(np.meshgrid(np.linspace(low[0], high[0], 14), np.linspace(low[1], high[1], 14)), axis=-1)
    corners: Array = grid.reshape(-1, 2)
    gaps = [np.linalg.norm((corner + shape)[:, None] - occupied, axis=-1).min() for corner in corners]
    best: Array = corners[int(np.argmax(gaps))]
    return best


def spread(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Centres of labels in the unit interval: near where they are wanted, none over another.

    Args:
        wanted: where each label would best be.
        heights: height of each label.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    centres = list(wanted)
    bottom = 0.0
    for index in order:
        centres[index] = max(wanted[index], bottom + heights[index] / 2)
        bottom = centres[index] + heights[index] / 2
    top = 1.0
    for index in reversed(order):
        centres[index] = min(centres[index], top - heights[index] / 2)
        top = centres[index] - heights[index] / 2
    return centres
