"""SNR of the gradient against the number K of importance samples, by network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.axes import Array, log_limits, log_x, log_y, slope_guide
from snrkit.report.collect import Collected
from snrkit.report.drawing import Drawing, Missing

# Metric -> (axis label, what the floor is).
METRICS = {
    "snr_mean": ("SNR, mean over coordinates\nof |E[Δ]| / sd[Δ]", "pure-noise floor"),
    "snr_median": ("SNR, median over coordinates\nof |E[Δ]| / sd[Δ]", "pure-noise floor"),
    "snr_pooled": ("pooled SNR, root of\nΣ E[Δ]² / Σ Var[Δ]", "95 % point of pure noise"),
}

# Block -> (title, slope to compare with, its label).
PANELS = {
    "inference": ("Gradient of the inference network (φ)", -0.5, "∝ K$^{-1/2}$"),
    "generative": ("Gradient of the generative network (θ)", 0.5, "∝ K$^{1/2}$"),
}

_LINE_KEY = ["source", "run", "step", "data", "scope", "estimator", "options", "seed", "method", "dtype"]
_TWIN_COLUMNS = [
    "block", "line", "run", "step", "data", "scope", "estimator", "options", "seed", "dtype", "M", "K", "metric", "value",
    "ci_low", "ci_high", "floor", "draws", "on_floor",
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One (run, estimator): its label, its style and its readings in both blocks."""

    label: str
    style: style.LineStyle
    rows: pd.DataFrame


def draw(collected: Collected, metric: str = "snr_mean") -> Drawing | Missing:
    """Draw SNR against K, with intervals, the floor and guides of slope -1/2 and +1/2.

    Where several M were measured, the smallest of each line is shown.

    Args:
        collected: the readings.
        metric: which SNR, a key of ``METRICS``.
    """
    readings = collected.readings
    if readings.empty:
        return Missing("no snr.parquet found: run 'snrkit snr --ckpt CHECKPOINT --K 1,10,100,1000'")
    wanted = readings[(readings["metric"] == metric) & readings["block"].isin(PANELS)]
    drawable = np.isfinite(wanted["value"]) & (wanted["value"] > 0)
    rows = wanted[drawable]
    if rows.empty:
        return Missing(f"no usable {metric} of a network: run 'snrkit snr --ckpt CHECKPOINT --K 1,10,100,1000'")
    lines = _lines(rows)
    data = pd.concat([line.rows for line in lines], ignore_index=True)
    dropped = int((~drawable).sum())
    notes = (f"{dropped} of {len(wanted)} readings are NaN or not positive and not drawn",) if dropped else ()
    sources = tuple(Path(source) for source in dict.fromkeys(data["source"]))
    return Drawing(_figure(lines, data, metric), data[_TWIN_COLUMNS], _caption(data, metric), sources, notes)


def _lines(rows: pd.DataFrame) -> list[Line]:
    groups = [group[group["M"] == group["M"].min()] for _, group in rows.groupby(_LINE_KEY, sort=False, dropna=False)]
    keys = [group.iloc[0] for group in groups]
    styles = style.assign([(key["estimator"], f"{key['source']} {key['run']} {key['step']}") for key in keys])
    lines = []
    for label, look, group in zip(_labels(keys), styles, groups, strict=True):
        once = group.drop_duplicates(["block", "K"], keep="last").sort_values(["block", "K"], ascending=[False, True])
        # Without an interval the reading itself has to clear the floor.
        low = once["ci_low"].where(np.isfinite(once["ci_low"]), once["value"])
        lines.append(Line(label, look, once.assign(line=label, on_floor=low <= once["floor"])))
    return lines


def _labels(keys: Sequence[pd.Series]) -> list[str]:
    """Estimator and run; then whatever else tells lines apart."""
    labels = [f"{style.estimator_label(key['estimator'], key['options'])}, {key['run']}" for key in keys]
    if len({key["M"] for key in keys}) > 1:
        labels = [f"{label}, M = {key['M']}" for label, key in zip(labels, keys, strict=True)]
    for field in ("step", "data", "scope", "seed", "dtype", "source"):
        values: dict[str, set[str]] = {}
        for label, key in zip(labels, keys, strict=True):
            values.setdefault(label, set()).add(str(key[field]))
        labels = [
            f"{label}, {field} {key[field]}" if len(values[label]) > 1 else label
            for label, key in zip(labels, keys, strict=True)
        ]
    return labels


def _figure(lines: Sequence[Line], data: pd.DataFrame, metric: str) -> Figure:
    blocks = [block for block in PANELS if (data["block"] == block).any()]
    handles = [*(_handle(line) for line in lines), *_key(data, metric)]
    columns = style.legend_columns([str(handle.get_label()) for handle in handles]) if len(blocks) == 2 else 1
    tallest = max(str(handle.get_label()).count("\n") + 1 for handle in handles)
    height = 2.75 + 0.15 * tallest * -(-len(handles) // columns)
    width = style.TEXT_WIDTH_IN * (1.0 if len(blocks) == 2 else 0.6)
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = figure.subplots(1, len(blocks), sharey=True, squeeze=False)[0]
    limits = _y_limits(data)
    for axes, block in zip(panels, blocks, strict=True):
        _panel(axes, block, lines, data[data["block"] == block], limits)
    panels[0].set_ylabel(METRICS[metric][0])
    title = "estimator of the gradient, run"
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, title=title)
    return figure


def _y_limits(data: pd.DataFrame) -> tuple[float, float]:
    floors = data["floor"][data["floor"] > 0]
    least = min(data["value"].min(), floors.min() if len(floors) else np.inf)
    ends = data["ci_low"][data["ci_low"] > 0]
    # An interval that nearly reaches zero would stretch a log axis without end.
    low = max(least / 3, min(least, ends.min())) if len(ends) else least
    return log_limits(low, np.nanmax(data[["value", "ci_high", "floor"]].to_numpy()))


def _panel(axes: Axes, block: str, lines: Sequence[Line], data: pd.DataFrame, limits: tuple[float, float]) -> None:
    title, slope, guide = PANELS[block]
    samples = sorted(int(k) for k in data["K"].unique())
    log_x(axes, samples, log_limits(samples[0], samples[-1], pad=0.05))
    log_y(axes, limits)
    axes.tick_params(labelleft=axes.get_subplotspec().is_first_col())  # type: ignore[union-attr]
    axes.set_title(title)
    outer = sorted(int(m) for m in data["M"].unique())
    axes.set_xlabel(f"importance samples K  (M = {outer[0]})" if len(outer) == 1 else "importance samples K")
    _draw_floor(axes, data)
    drawn = []
    shown = [line for line in lines if (line.rows["block"] == block).any()]
    for place, line in enumerate(shown):
        rows = line.rows[line.rows["block"] == block]
        # With a single K all readings would lie on one vertical line: set them side by side.
        aside = 1.0 if len(samples) > 1 else 1.12 ** (place - (len(shown) - 1) / 2)
        drawn += _draw_line(axes, line, rows, aside)
    if len(samples) > 1:
        floors = [(np.array(axes.get_xlim()), np.full(2, floor)) for floor in data["floor"][data["floor"] > 0].unique()]
        slope_guide(axes, slope, guide, [*drawn, *floors])


def _draw_floor(axes: Axes, data: pd.DataFrame) -> None:
    known = data[data["floor"] > 0]
    if known["floor"].nunique() == 1:
        drawn = [axes.axhline(known["floor"].iloc[0])]
    else:
        drawn = [axes.plot(rows["K"], rows["floor"])[0] for _, rows in known.groupby("line", sort=False)]
    for line in drawn:
        line.set(color=style.GREY, linestyle=style.FLOOR_DASHES, linewidth=1.0, zorder=1.5, gid="floor")


def _draw_line(axes: Axes, line: Line, rows: pd.DataFrame, aside: float) -> list[tuple[Array, Array]]:
    """Draw one line of one panel; returns the (x, y) that other things should keep away from."""
    x, y = rows["K"].to_numpy(float) * aside, rows["value"].to_numpy(float)
    bottom = axes.get_ylim()[0]
    low, high = (rows[end].to_numpy(float) for end in ("ci_low", "ci_high"))
    low = np.where(np.isnan(low), np.nan, np.maximum(low, bottom))
    look = line.style
    if len(x) > 1:
        axes.fill_between(x, low, high, color=look.colour, alpha=0.2, linewidth=0)
    else:
        axes.vlines(x, low, high, color=look.colour, linewidth=1.0)
    axes.plot(x, y, color=look.colour, linestyle=look.dashes, marker=look.marker, label=line.label, gid="line")
    weak = rows["on_floor"].to_numpy(bool)
    axes.plot(
        x[weak],
        y[weak],
        linestyle="none",
        marker=look.marker,
        color=look.colour,
        markerfacecolor="white",
        gid="on floor",
    )
    known = np.isfinite(low) & np.isfinite(high)
    ends = [(x[known], end[known]) for end in (low, high)] if known.any() else []
    return [(x, y), *ends]


def _handle(line: Line) -> Line2D:
    look, label = line.style, style.wrapped(line.label, style.LEGEND_WRAP)
    return Line2D([], [], color=look.colour, linestyle=look.dashes, marker=look.marker, label=label)


def _key(data: pd.DataFrame, metric: str) -> list[Line2D]:
    """Legend entries of the floor and of readings on it, where there are such."""
    entries = []
    if (data["floor"] > 0).any():
        floor = Line2D([], [], color=style.GREY, linestyle=style.FLOOR_DASHES, linewidth=1.0, label=METRICS[metric][1])
        entries.append(floor)
    if data["on_floor"].any():
        hollow = Line2D([], [], color=style.DARK_GREY, markerfacecolor="white", linestyle="none", marker="o")
        hollow.set_label("hollow: 95 % interval reaches the floor")
        entries.append(hollow)
    return entries


def _caption(data: pd.DataFrame, metric: str) -> str:
    points = "; ".join(
        dict.fromkeys(f"{data_} ({scope})" for data_, scope in zip(data["data"], data["scope"], strict=True))
    )
    draws = ", ".join(str(n) for n in sorted(data["draws"].unique()))
    outer = ", ".join(str(m) for m in sorted(data["M"].unique()))
    words = METRICS[metric][0].replace("\n", " ")
    return (
        f"{words}, against the number K of importance samples at M = {outer}, over draws of the noise at fixed parameters "
        f"and data points: {points}. {draws} draws. Bands or bars: 95 % intervals. Dashed grey: {METRICS[metric][1]}, what "
        "a gradient of mean zero would read. Hollow markers: the interval's lower end is not above the floor, so the "
        "reading cannot be told from noise. Thin lines: slopes -1/2 (inference) and +1/2 (generative)."
    )
