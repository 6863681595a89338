"""SNR of the gradient along training."""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from snrkit.report import style
from snrkit.report.axes import log_y
from snrkit.report.blocks import heading, in_panels, spoken, told
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import TWIN, Line, fewest, joined, trend, usable
from snrkit.report.marks import draw_line, key, marked, y_limits
from snrkit.report.naming import OF_MODEL, named_lines
from snrkit.report.repetitions import readings_over_seeds, seeds_caption, uneven
from snrkit.report.style import Look

COMMAND = "snrkit train --snr-every 5"

FLOOR = "floor: pure noise"
_GROUP = ["source", "run", "data", "estimator", "options", "seed", "method", "K"]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """A line for each setting and estimator at its largest K; where there is but one, a line for each K."""
    readings = tables["snr"]
    means = told(readings[readings["metric"] == "snr_mean"])
    shown, left_out = in_panels(means)
    rows, notes = usable(means[means["block"].isin(shown)])
    rows = marked(readings_over_seeds(rows))
    groups = [_followed(group) for _, group in rows.groupby(_GROUP, sort=False, dropna=False)]
    groups = [group for group in groups if group["step"].nunique() > 1]
    if not groups:
        return Missing(f"SNR was not measured at several steps of a run: run '{COMMAND}'")
    largest: dict[tuple[str, ...], pd.DataFrame] = {}
    for group in groups:
        owner = tuple(group[[name for name in _GROUP if name != "K"]].iloc[0])
        if owner not in largest or group["K"].iloc[0] > largest[owner]["K"].iloc[0]:
            largest[owner] = group
    groups, over = fewest(list(largest.values()) if len(largest) > 1 else groups)
    found = named_lines(_with_epochs(groups, tables["metrics"]), ["K", *OF_MODEL, "M", "data", "seed"])
    if len({line.style.colour for line in found}) == 1 and len(found) > 1:
        found = [
            Line(line.label, style.LineStyle(colour, line.style.marker, line.style.dashes), line.rows)
            for line, colour in zip(found, style.shades(len(found)), strict=True)
        ]
    data = pd.concat([line.rows for line in found], ignore_index=True)
    blocks = [block for block in shown if (data["block"] == block).any()]
    figure, axes = panels(
        look, len(blocks), handles=[*(line.handle() for line in found), *key(data, FLOOR)], share_y=True
    )
    for place, block in zip(axes, blocks, strict=True):
        _panel(place, block, found, data)
    axes[0].set_ylabel("SNR")
    said = (*notes, *over, *left_out, *uneven(line.rows for line in found))
    return Drawing(figure, data[["at", *TWIN, "runs", "on_floor"]], _caption(data), _alt(found, blocks), said)


def _followed(group: pd.DataFrame) -> pd.DataFrame:
    rows = group[group["M"] == group["M"].min()].drop_duplicates(["block", "step"], keep="last")
    ordered: pd.DataFrame = rows.sort_values(["block", "step"], ascending=[False, True])
    return ordered


def _with_epochs(groups: Sequence[pd.DataFrame], metrics: pd.DataFrame) -> list[pd.DataFrame]:
    """The column ``at``: epochs where the metrics of every line's runs name them for all its steps, else steps for all."""
    epochs: list[dict[int, int]] = []
    for group in groups:
        own = metrics[metrics["setting"] == group["setting"].iloc[0]]
        epochs.append(dict(zip(own["step"], own["epoch"], strict=True)))
    if all(group["step"].isin(known).all() for group, known in zip(groups, epochs, strict=True)):
        return [
            group.assign(at=[known[step] for step in group["step"]], unit="epoch")
            for group, known in zip(groups, epochs, strict=True)
        ]
    return [group.assign(at=group["step"], unit="optimiser step") for group in groups]


def _panel(axes: Axes, block: str, found: list[Line], data: pd.DataFrame) -> None:
    log_y(axes, y_limits(data))
    own = data[data["block"] == block]
    for floor in own["floor"][own["floor"] > 0].unique():
        axes.axhline(floor, color=style.GREY, linestyle=style.FLOOR_DASHES, gid="floor", zorder=1.5)
    for line in found:
        rows = line.rows[line.rows["block"] == block]
        draw_line(axes, line, rows["at"].to_numpy(float), rows)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.set_title(heading(block))
    axes.set_xlabel(joined(data["unit"].unique()))


def _caption(data: pd.DataFrame) -> str:
    named = joined(label for label in data["data"].unique() if label != "given")
    return (
        f"SNR (mean over coordinates) of the gradient{f' of {named}' if named else ''} along training, "
        f"M = {joined(sorted(data['M'].unique()))}, K = {joined(sorted(data['K'].unique()))}; "
        f"number of draws of the unit M = 1: {joined(sorted(data['draws'].unique()))}. "
        f"Bands: 95 % intervals{seeds_caption(data)}. "
        "Dashed grey: what pure noise would read; hollow markers: the interval reaches down to it."
    )


def _alt(found: list[Line], blocks: list[str]) -> str:
    parts = []
    for block in blocks:
        parts.append(f"{spoken(block)}: {'; '.join(_trends(found, block))}")
    return f"Line chart of SNR along training, log SNR axis. {'. '.join(parts)}."


def _trends(found: list[Line], block: str) -> Iterator[str]:
    for line in found:
        rows = line.rows[line.rows["block"] == block]
        if len(rows):
            unit = str(rows["unit"].iloc[0])
            yield trend(Line(line.label, line.style, rows[["at", "value"]].rename(columns={"at": unit})), unit)


figure = FigureKind(
    title="Signal-to-noise ratio along training",
    section="gradients",
    needs=("snr", "metrics"),
    command=COMMAND,
    definition="SNR: |E[Δ]| / sd[Δ] per coordinate, averaged over a network's coordinates, at the parameters of that epoch.",
    uncertainty="Bands: 95 % intervals over draws of the noise at fixed parameters.",
    draw=draw,
)
