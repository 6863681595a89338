"""How a measure of signal to noise goes with K or M in both networks: the figures of SNR and DSNR share this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snrkit.report import style
from snrkit.report.axes import log_limits, log_x, log_y, slope_guide
from snrkit.report.blocks import NETWORKS, heading, in_panels, spoken, told
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, Missing
from snrkit.report.escape import visible
from snrkit.report.layout import panels
from snrkit.report.lines import (
    KEY,
    TWIN,
    Line,
    comparable,
    fewest,
    joined,
    latest,
    measured_at,
    several,
    trend,
    usable,
)
from snrkit.report.marks import draw_line, key, marked, y_limits
from snrkit.report.naming import OF_MODEL, named_lines
from snrkit.report.repetitions import readings_over_seeds, seeds_caption, slopes_over_seeds, uneven
from snrkit.report.style import Look
from snrkit.report.tables import rounded
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.metrics import describe
from snrkit.types import Array

Axis = Literal["K", "M"]
_SAMPLES = {"K": "importance samples", "M": "outer samples"}
_OF_LOSS = "independent repetitions (of a loss)"
# Exponents near the optimum, of IWAE, where no slopes beside the readings say what theory expects.
_USUAL = {("K", "inference"): -0.5, ("K", "generative"): 0.5, ("M", "inference"): 0.5, ("M", "generative"): 0.5}
_TELLING = ("step", "data", "scope", "seed", "method", "dtype")


@dataclass(frozen=True)
class Rate:
    """One such figure.

    Attributes:
        metric: of the tidy table.
        axis: what it is drawn against; the other one is held fixed.
        floor: what the floor is.
        fitted: whether slopes were fitted to (the pooled form of) this measure.
        command: what makes the data.
    """

    metric: str
    axis: Axis
    floor: str
    fitted: bool
    command: str

    @property
    def label(self) -> str:
        """Of the y axis."""
        return describe(self.metric).title

    @property
    def fixed(self) -> Axis:
        """The other number of samples."""
        return "M" if self.axis == "K" else "K"


def draw_rate(tables: Tables, look: Look, rate: Rate) -> Drawing | Missing:
    """Draw a measure against K (at each line's smallest M) or M (at the K where most M were measured).

    Bands are 95 % intervals, the floor is dashed, hollow markers cannot be told from it; of each run the last measured
    step is shown.
    """
    rows, left = _wanted(tables["snr"], rate)
    rows, notes = usable(rows)
    rows = readings_over_seeds(rows)
    groups, few = comparable([_at_fixed(group, rate) for _, group in rows.groupby(KEY, sort=False, dropna=False)])
    groups, alone = several([marked(group) for group in groups], rate.axis)
    if not groups or (rate.axis == "M" and groups[0]["M"].nunique() == 1):
        return _missing(rows, rate)
    groups, over = fewest(groups)
    found = named_lines(groups, [*OF_MODEL, *_TELLING], always=[rate.fixed])
    data = pd.concat([line.rows for line in found], ignore_index=True)
    slopes, guides = _slopes(tables["slopes"], data, rate), _guides(tables["slopes"], data, rate)
    figure = _figure(found, data, slopes, guides, look, rate)
    twin = data[[*TWIN, "runs", "on_floor", "pulled"]].merge(slopes, how="left", on=["line", "block"])
    said = (*notes, *few, *alone, *over, *left, *uneven(line.rows for line in found))
    return Drawing(figure, twin, _caption(data, slopes, guides, rate), _alt(found, rate), said)


def _wanted(readings: pd.DataFrame, rate: Rate) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The readings of each run's last step in the blocks that are drawn, and a line about what is not."""
    rows = told(latest(readings[readings["metric"] == rate.metric]))
    if rate.axis == "M":
        blocks, left = in_panels(rows)
        return rows[rows["block"].isin(blocks)], left
    found = rows[rows["block"].isin(NETWORKS)]
    others = rows["estimator"][~rows["block"].isin(NETWORKS)].astype(str).unique()
    note = f"{', '.join(map(visible, others))}: no readings of networks, as of losses, and so none against K"
    return found, (note,) if len(others) else ()


def _missing(rows: pd.DataFrame, rate: Rate) -> Missing:
    """Why there is nothing to draw, and what measures it."""
    if rate.axis == "M" and len(rows) and not rows["block"].isin(NETWORKS).any():
        problem = f"{rate.metric} was read at M = {joined(sorted(rows['M'].unique()))} alone, of losses"
        return Missing(f"{problem}: run 'snrkit.measure_loss(loss, model, batch, M=[1, 10, 100])'")
    return Missing(f"no usable {rate.metric} of a network against {rate.axis}: run '{rate.command}'")


def _at_fixed(group: pd.DataFrame, rate: Rate) -> pd.DataFrame:
    counts = group.groupby(rate.fixed)[rate.axis].nunique()
    chosen = counts.index.min() if rate.axis == "K" else counts[counts == counts.max()].index.min()
    rows = group[group[rate.fixed] == chosen].drop_duplicates(["block", rate.axis], keep="last")
    blocks, _ = in_panels(group)
    ordered: pd.DataFrame = rows.sort_values(
        ["block", rate.axis], key=lambda column: column.map(blocks.index) if column.name == "block" else column
    )
    return ordered


def _guides(slopes: pd.DataFrame, data: pd.DataFrame, rate: Rate) -> dict[str, list[float]]:
    """Network to the exponents that theory has for the estimators drawn; none where no line could show one."""
    lengths = data.groupby(["block", "line"])[rate.axis].nunique().groupby("block").max()
    found = {}
    for block in (name for name, length in lengths.items() if length > 1):
        expected: set[float] = set()
        if len(slopes):
            known = slopes[slopes["estimator"].isin(data["estimator"]) & (slopes["axis"] == rate.axis)]
            expected = {float(exponent) for exponent in known["expected"][known["block"] == block]}
        found[str(block)] = sorted(expected - {0.0}) or [_USUAL.get((rate.axis, str(block)), 0.5)]
    return found


def _slopes(slopes: pd.DataFrame, data: pd.DataFrame, rate: Rate) -> pd.DataFrame:
    """Fitted slopes of the drawn lines: columns line, block, slope, slope_ci_low, slope_ci_high."""
    columns = ["line", "block", "slope", "slope_ci_low", "slope_ci_high", "over"]
    if not rate.fitted or slopes.empty:
        return pd.DataFrame(columns=columns)
    keys = ["run", "step", "data", "estimator", "options", "seed", "method", "block"]
    fitted = slopes[(slopes["axis"] == rate.axis) & np.isfinite(slopes["slope"])]
    found = slopes_over_seeds(fitted).rename(columns={"fixed": rate.fixed})
    # A run's slopes lie beside its readings.
    home = data["source"].map(lambda source: source and str(SLOPES.beside(Path(source))))
    marked = data.assign(source=home).drop_duplicates(["line", "block"])
    # Slopes do not say of which precision they are: of readings in several no line can claim them.
    precisions = marked.groupby(["source", *keys, rate.fixed], dropna=False)["dtype"].transform("nunique")
    marked = marked[precisions <= 1]
    merged = marked[["line", "source", *keys, rate.fixed]].merge(
        found[["source", *keys, rate.fixed, "slope", "ci_low", "ci_high", "over"]], on=["source", *keys, rate.fixed]
    )
    merged = merged.rename(columns={"ci_low": "slope_ci_low", "ci_high": "slope_ci_high"})
    return merged[columns].drop_duplicates(["line", "block"], keep="last")


def _figure(
    found: Sequence[Line],
    data: pd.DataFrame,
    slopes: pd.DataFrame,
    guides: Mapping[str, Sequence[float]],
    look: Look,
    rate: Rate,
) -> Figure:
    blocks, _ = in_panels(data)
    handles = [*(line.handle(_entry(line, slopes, blocks)) for line in found), *key(data, rate.floor)]
    figure, axes = panels(look, len(blocks), handles=handles, share_y=True)
    limits = y_limits(data)
    for place, block in zip(axes, blocks, strict=True):
        drawn = _panel(place, block, found, data[data["block"] == block], limits, rate)
        for exponent in guides.get(block, ()):
            drawn.append(slope_guide(place, exponent, f"∝ {rate.axis}$^{{{_half(exponent)}}}$", drawn))
    axes[0].set_ylabel(rate.label)
    return figure


def _entry(line: Line, slopes: pd.DataFrame, blocks: Sequence[str]) -> str:
    """Label with the fitted slopes, inference | generative."""
    own = slopes[slopes["line"] == line.label].set_index("block")
    if own.empty:
        return line.label
    reach = (own["slope_ci_high"] - own["slope_ci_low"]) / 2
    texts = [" ± ".join(rounded(own["slope"][b], reach[b])) if b in own.index else "–" for b in blocks]
    return f"{line.label}, slope {' | '.join(texts).replace('-', '−')}"


def _panel(
    axes: Axes, block: str, found: Sequence[Line], data: pd.DataFrame, limits: tuple[float, float], rate: Rate
) -> list[tuple[Array, Array]]:
    """Draw one network; returns the (x, y) that guides should keep away from."""
    samples = sorted(int(k) for k in data[rate.axis].unique())
    log_x(axes, samples, log_limits(samples[0], samples[-1], pad=0.05))
    log_y(axes, limits)
    axes.set_title(heading(block))
    fixed = sorted(int(m) for m in data[rate.fixed].unique())
    held = f" ({rate.fixed} = {fixed[0]})" if len(fixed) == 1 else ""
    axes.set_xlabel(f"samples {rate.axis}{held}" if block in NETWORKS else f"repetitions {rate.axis}")
    _draw_floor(axes, data, rate.axis)
    drawn = []
    shown = [line for line in found if (line.rows["block"] == block).any()]
    for place, line in enumerate(shown):
        rows = line.rows[line.rows["block"] == block]
        # With a single number of samples all readings would lie on one vertical line: set them side by side.
        aside = 1.0 if len(samples) > 1 else 1.12 ** (place - (len(shown) - 1) / 2)
        drawn += draw_line(axes, line, rows[rate.axis].to_numpy(float) * aside, rows)
    ends = np.array(axes.get_xlim())
    return drawn + [(ends, np.full(2, floor)) for floor in data["floor"][data["floor"] > 0].unique()]


def _half(exponent: float) -> str:
    """0.5 as ``1/2``."""
    return str(Fraction(exponent).limit_denominator(100))


def _draw_floor(axes: Axes, data: pd.DataFrame, axis: str) -> None:
    known = data[data["floor"] > 0]
    if known["floor"].nunique() == 1:
        drawn = [axes.axhline(known["floor"].iloc[0])]
    else:
        drawn = [axes.plot(rows[axis], rows["floor"])[0] for _, rows in known.groupby("line", sort=False)]
    for line in drawn:
        line.set(color=style.GREY, linestyle=style.FLOOR_DASHES, linewidth=0.8 * line.get_linewidth(), zorder=1.5)
        line.set_gid("floor")


def _caption(data: pd.DataFrame, slopes: pd.DataFrame, guides: Mapping[str, Sequence[float]], rate: Rate) -> str:
    points = joined(map(measured_at, data.itertuples()))
    fit = (
        " Slopes in the legend (inference | generative) are fits of log pooled SNR against log "
        f"{rate.axis} ± half their 95 % interval, over {rate.axis} = {joined(slopes['over'].unique())}."
        if len(slopes)
        else ""
    )
    guide = ", ".join(f"{joined(map(_half, own))} ({block})" for block, own in guides.items() if block in NETWORKS)
    thin = f" Thin lines: slopes that theory expects near the optimum, {guide}." if guide else ""
    thin += " Thin lines, of losses: a slope of 1/2, by algebra." if guides.keys() - NETWORKS.keys() else ""
    pulled = ", or it rests on too few draws, so that noise pulls it towards the floor" if data["pulled"].any() else ""
    whole = data["block"].isin(NETWORKS)
    samples = [_SAMPLES[rate.axis]] * bool(whole.any()) + [_OF_LOSS] * (not whole.all())
    return (
        f"{rate.label} against the number {rate.axis} of {joined(samples)} at {rate.fixed} = "
        f"{joined(sorted(data[rate.fixed].unique()))}, over {joined(sorted(data['draws'].unique()))} draws of the noise at "
        f"fixed parameters and data points ({points}). Bands or bars: 95 % "
        f"intervals{seeds_caption(data)}. Dashed grey: {rate.floor}. Hollow markers: the interval reaches down to the "
        f"floor, so the reading cannot be told from noise{pulled}.{thin}{fit}"
    )


def _alt(found: Sequence[Line], rate: Rate) -> str:
    parts = []
    for block in in_panels(pd.concat([line.rows for line in found]))[0]:
        own = [Line(line.label, line.style, line.rows[line.rows["block"] == block]) for line in found]
        texts = [trend(line, rate.axis) for line in own if len(line.rows)]
        if texts:
            parts.append(f"{spoken(block)}: {'; '.join(texts)}")
    return f"Line chart on log axes of {rate.label} against {rate.axis}. {'. '.join(parts)}."
