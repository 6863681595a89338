"""How readings of signal to noise are drawn: lines with bands, the floor, hollow marks of what cannot be told from it."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.axes import log_limits
from snrkit.report.lines import Line
from snrkit.types import Array


def marked(rows: pd.DataFrame) -> pd.DataFrame:
    """With ``on_floor``, readings that cannot be told from noise, and ``pulled``, those that noise moves (see DSNR)."""
    # Without an interval the reading itself has to clear the floor.
    low = rows["ci_low"].astype(float)
    low = low.where(np.isfinite(low), rows["value"])
    return rows.assign(on_floor=low <= rows["floor"], pulled=rows["pulled"].astype(bool))


def y_limits(data: pd.DataFrame) -> tuple[float, float]:
    """Limits of a log axis that shows values, intervals and floors."""
    floors = data["floor"][data["floor"] > 0]
    least = min(data["value"].min(), floors.min() if len(floors) else np.inf)
    ends = data["ci_low"][data["ci_low"] > 0]
    # An interval that nearly reaches zero would stretch a log axis without end.
    low = max(least / 3, min(least, ends.min())) if len(ends) else least
    return log_limits(low, float(np.nanmax(data[["value", "ci_high", "floor"]].to_numpy(float))))


def draw_line(axes: Axes, line: Line, x: Array, rows: pd.DataFrame) -> list[tuple[Array, Array]]:
    """Draw readings with their intervals; returns the (x, y) that other things should keep away from."""
    y = rows["value"].to_numpy(float)
    bottom = axes.get_ylim()[0]
    low, high = (rows[end].to_numpy(float) for end in ("ci_low", "ci_high"))
    low = np.where(np.isnan(low), np.nan, np.maximum(low, bottom))
    look = line.style
    if len(x) > 1:
        axes.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0)
    else:
        axes.vlines(x, low, high, color=look.colour)
    axes.plot(x, y, color=look.colour, linestyle=look.dashes, marker=look.marker, label=line.label, gid="line")
    weak = (rows["on_floor"] | rows["pulled"]).to_numpy(bool)
    axes.plot(
        x[weak], y[weak], linestyle="none", marker=look.marker, color=look.colour, markerfacecolor="white", gid="on floor"
    )  # fmt: skip
    known = np.isfinite(low) & np.isfinite(high)
    ends = [(x[known], end[known]) for end in (low, high)] if known.any() else []
    return [(x, y), *ends]


def key(data: pd.DataFrame, floor: str) -> list[Line2D]:
    """Legend entries of the floor and of hollow readings, where there are such."""
    entries = []
    if (data["floor"] > 0).any():
        entries.append(Line2D([], [], color=style.GREY, linestyle=style.FLOOR_DASHES, label=floor))
    if data["on_floor"].any() or data["pulled"].any():
        hollow = Line2D([], [], color=style.DARK_GREY, markerfacecolor="white", linestyle="none", marker="o")
        hollow.set_label("on the floor" if not data["pulled"].any() else "on the floor or pulled towards it")
        entries.append(hollow)
    return entries
