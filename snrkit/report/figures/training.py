"""Bounds while training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snrkit.report import style
from snrkit.report.axes import spread
from snrkit.report.collect import Collected, Run
from snrkit.report.drawing import Drawing, Missing

# Key in metrics.jsonl -> (line width, opacity, legend).
BOUNDS = {
    "bound": (0.7, 0.75, "thin: the estimator's own bound, training set"),
    "test_iwae64": (1.7, 1.0, "thick: IWAE-64 bound, test points"),
}

_LABEL_WRAP = 34
_LABEL_PT = 7.5
_SURROUND_IN = 0.9


@dataclass(frozen=True)
class Curve:
    """The bounds of one run: columns run, estimator, M, K, data, bound (which), epoch, value."""

    label: str
    style: style.LineStyle
    rows: pd.DataFrame


def draw(collected: Collected) -> Drawing | Missing:
    """Draw each run's training bound and its IWAE-64 test bound against the epoch."""
    remedy = "run 'snrkit train'"
    runs = [run for run in collected.runs if run.metrics]
    if not runs:
        return Missing(f"no metrics.jsonl found: {remedy}")
    tables = [_rows(run) for run in runs]
    kept = [(run, table) for run, table in zip(runs, tables, strict=True) if len(table)]
    if not kept:
        return Missing(f"no finite bound in any metrics.jsonl: {remedy}")
    styles = style.assign([(run.estimator, str(run.files.path)) for run, _ in kept])
    labels = _labels([run for run, _ in kept])
    curves = [Curve(label, look, table) for label, look, (_, table) in zip(labels, styles, kept, strict=True)]
    data = pd.concat([curve.rows.assign(line=curve.label) for curve in curves], ignore_index=True)
    low, high, cut = _limits(data)
    inputs = [file for run, _ in kept for file in (run.files.metrics, run.files.config) if file.exists()]
    return Drawing(_figure(curves, (low, high)), data, _caption(data, cut), tuple(inputs), _notes(runs))


def _rows(run: Run) -> pd.DataFrame:
    spec = run.spec
    trained = {
        "run": run.files.name,
        "estimator": run.estimator,
        "M": spec.estimator.M if spec else pd.NA,
        "K": spec.estimator.K if spec else pd.NA,
        "data": spec.data.name if spec else "",
    }
    found = [
        trained | {"bound": bound, "epoch": row["epoch"], "value": float(row[bound])}
        for bound in BOUNDS
        for row in run.metrics
        if "epoch" in row and _is_finite(row.get(bound))
    ]
    return pd.DataFrame(found, columns=[*trained, "bound", "epoch", "value"])


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _notes(runs: Sequence[Run]) -> tuple[str, ...]:
    bad = sum(bound in row and not _is_finite(row[bound]) for run in runs for row in run.metrics for bound in BOUNDS)
    return (f"{bad} bounds are not finite and not drawn",) if bad else ()


def _labels(runs: Sequence[Run]) -> list[str]:
    names = [run.files.name for run in runs]
    return [_label(run, str(run.files.path) if names.count(run.files.name) > 1 else run.files.name) for run in runs]


def _label(run: Run, name: str) -> str:
    parts = [name]
    if run.spec:
        chosen = run.spec.estimator
        options = ", ".join(f"{key}={value:g}" for key, value in chosen.options.items())
        parts.append(f"{style.estimator_label(chosen.name, options)}, M = {chosen.M}, K = {chosen.K}")
    if run.state not in ("", "done"):
        parts.append(run.state)
    return " | ".join(parts)


def _limits(data: pd.DataFrame) -> tuple[float, float, bool]:
    """Ends of the y axis, and whether they leave out first epochs that would flatten all the rest."""
    last = data.groupby("line")["epoch"].transform("max")
    late = data["value"][data["epoch"] > 0.1 * last]
    top, low = data["value"].max(), data["value"].min()
    cut = bool(late.min() < top and top - low > 3 * (top - late.min()))
    low = late.min() if cut else low
    margin = 0.05 * (top - low) or 1.0
    return float(low - margin), float(top + margin), cut


def _figure(curves: Sequence[Curve], limits: tuple[float, float]) -> Figure:
    labels = ["\n".join(style.wrapped(part, _LABEL_WRAP) for part in curve.label.split(" | ")) for curve in curves]
    inches = [1.35 * _LABEL_PT / 72 * (label.count("\n") + 1) + 0.03 for label in labels]
    axes_height = max(2.1, sum(inches))
    figure = Figure(figsize=(style.TEXT_WIDTH_IN, axes_height + _SURROUND_IN), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        _draw_curve(axes, curve)
    epochs = pd.concat([curve.rows["epoch"] for curve in curves])
    axes.set_xlim(min(1, epochs.min()), max(2, epochs.max()))
    axes.set_ylim(*limits)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("epoch")
    axes.set_ylabel("bound on log p(x) (nats per data point)")
    _draw_labels(axes, curves, labels, [height / axes_height for height in inches])
    present = pd.concat([curve.rows["bound"] for curve in curves]).unique()
    figure.legend(
        handles=[Line2D([], [], color=style.DARK_GREY, linewidth=BOUNDS[b][0], label=BOUNDS[b][2]) for b in present],
        loc="outside lower center", ncols=2,
    )  # fmt: skip
    return figure


def _draw_curve(axes: Axes, curve: Curve) -> None:
    for bound, rows in curve.rows.groupby("bound"):
        width, opacity, _ = BOUNDS[str(bound)]
        marker = curve.style.marker if len(rows) == 1 else ""
        axes.plot(
            rows["epoch"], rows["value"], color=curve.style.colour, linestyle=curve.style.dashes, linewidth=width,
            alpha=opacity, marker=marker, label=curve.label, gid=str(bound), clip_on=len(rows) > 1,
        )  # fmt: skip


def _draw_labels(axes: Axes, curves: Sequence[Curve], labels: Sequence[str], heights: Sequence[float]) -> None:
    """Each run's name beside the end of its most telling curve, the test bound if there is one."""
    low, high = axes.get_ylim()
    ends = [curve.rows[curve.rows["bound"] == curve.rows["bound"].iloc[-1]].iloc[-1] for curve in curves]
    wanted = [(end["value"] - low) / (high - low) for end in ends]
    for curve, label, end, centre in zip(curves, labels, ends, spread(wanted, heights), strict=True):
        axes.annotate(
            label, xy=(end["epoch"], end["value"]), xytext=(1.06, centre), textcoords="axes fraction", va="center",
            color=curve.style.colour, fontsize=_LABEL_PT, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": curve.style.colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 1,
                        "relpos": (0, 0.5)},
        )  # fmt: skip


def _caption(data: pd.DataFrame, cut: bool) -> str:
    below = " The first epochs lie below the axis." if cut else ""
    names = ", ".join(name for name in dict.fromkeys(data["data"]) if name)
    return (
        "Bounds on log p(x) in nats per data point against the epoch. Thin: the estimator's own bound with its own M and K, "
        "averaged over the training set while the parameters change; thick: the 64-sample bound on held-out test points. "
        f"Data: {names or 'unknown'}.{below}"
    )
