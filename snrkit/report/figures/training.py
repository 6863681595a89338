"""Bounds and the KL divergence along training."""

from collections.abc import Hashable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snrkit.report import style
from snrkit.report.collect import FOLLOWED, Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import Line, fewest, joined, trend
from snrkit.report.naming import CALLED, named_lines
from snrkit.report.repetitions import SETTING, as_one, own_data, whose
from snrkit.report.style import Look

COMMAND = "snrkit train"

# Metric -> y label. The first also holds the estimators' own bounds.
PANELS = {"iwae_64": "IWAE-64 (nats)", "log_p": "log $\\hat{p}$(x) (nats)", "kl_q_p": "KL(Q‖P) (nats)"}
_OWN = "bound"
_EVALUATED = ("log_p", "kl_q_p")
# Heights of a panel along epochs, and of one whose lines have a single epoch, in units of the text size.
_TALL, _COMPACT = 15, 10
_TWIN = [
    "line",
    "run",
    "metric",
    "epoch",
    "value",
    "spread",
    "stderr",
    "runs",
    "estimator",
    "options",
    "M",
    "K",
    "trained_on",
]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """IWAE-64 after each epoch with the estimator's own bound, and log p̂ and KL where checkpoints were evaluated.

    Runs that differ only in their seed are one line, their mean, with a band of one standard deviation.
    """
    metrics = tables["metrics"]
    if metrics.empty:
        return Missing(f"no metrics.jsonl found: run '{COMMAND}'")
    evaluated, apart = _evaluated(metrics, tables["evaluations"])
    found = pd.concat([_followed(metrics), evaluated], ignore_index=True)
    # Where nothing was evaluated, that table is empty and has no types, which the whole would take on.
    found = found.astype({"value": float, "stderr": float})
    finite = np.isfinite(found["value"])
    rows = found[finite]
    if rows.empty:
        return Missing(f"no finite bound in any metrics.jsonl: run '{COMMAND}'")
    notes = (f"{int((~finite).sum())} values are not finite and not drawn",) if not finite.all() else ()
    rows = rows.assign(options=rows["options"].fillna(""))
    together = [_together(group) for _, group in rows.groupby(SETTING, sort=False, dropna=False)]
    groups, over = fewest([rows for rows, _ in together])
    curves = named_lines(groups, ["trained_on", "M", "K", "model"])
    data = pd.concat([curve.rows for curve in curves], ignore_index=True)
    shown = [metric for metric in PANELS if data["metric"].isin(_drawn_in(metric)).any()]
    handles = [*(_handle(curve) for curve in curves), *_key(data)]
    figure, axes = panels(look, len(shown), handles=handles, side=False, height=_TALL)
    compact = [_one_epoch_each(data, metric) for metric in shown]
    figure.set_figheight(figure.get_figheight() - sum(compact) * (_TALL - _COMPACT) * look.em)
    axes[0].get_gridspec().set_height_ratios([_COMPACT if each else _TALL for each in compact])  # type: ignore[union-attr]
    for place, metric, each in zip(axes, shown, compact, strict=True):
        (_side_by_side if each else _panel)(place, metric, curves, data)
    for place, each, below in zip(axes, compact, compact[1:], strict=False):
        if each == below:
            place.set_xlabel("")
            place.tick_params(labelbottom=False)
    said = (*notes, *over, *apart, *_beyond(sum(lost for _, lost in together)))
    return Drawing(figure, data[_TWIN], _caption(data), _alt(curves, shown), said)


def _beyond(lost: int) -> tuple[str, ...]:
    """A line about epochs that some seeds did not reach."""
    return (f"{lost} values at epochs that not all seeds of a line have are not drawn",) if lost else ()


def _drawn_in(metric: str) -> list[str]:
    """What the panel of a metric shows."""
    return [metric, _OWN] if metric == "iwae_64" else [metric]


def _one_epoch_each(data: pd.DataFrame, metric: str) -> bool:
    """Whether a panel along epochs would be empty but for a point of each line."""
    own = data[data["metric"] == metric]
    return metric in _EVALUATED and int(own.groupby("line").size().max()) == 1


def _followed(metrics: pd.DataFrame) -> pd.DataFrame:
    """What was noted after each epoch, long."""
    keys = [*SETTING, "rest", "run", "who", "folder", "source", "epoch", "step", "state", *CALLED]
    metrics = metrics.assign(who=whose(metrics))
    known = {column: name for column, name in FOLLOWED.items() if column in metrics}
    parts = [
        metrics.assign(metric=name, value=metrics[column])[[*keys, "metric", "value"]] for column, name in known.items()
    ]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*keys, "metric", "value"])
    return rows[rows["value"].notna() | (rows["metric"] == _OWN)]


def _evaluated(metrics: pd.DataFrame, evaluations: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Evaluations of log p̂ and KL at kept checkpoints and at the end, with their epoch; of the run's first data.

    And a line about those with another number of samples than most of their setting, which are another quantity.
    """
    wanted = evaluations[evaluations["metric"].isin(["log_p", "kl_q_p"])]
    if wanted.empty:
        return wanted, ()
    wanted = own_data(wanted)
    most = wanted.groupby("setting", dropna=False)["samples"].transform(lambda samples: samples.mode().max())
    lost = int((wanted["samples"] != most).sum())
    note = f"{lost} evaluations with another number of samples than most of their line are not drawn"
    wanted = wanted[wanted["samples"] == most]
    epochs = metrics[["folder", "step", "epoch"]].drop_duplicates(["folder", "step"], keep="last")
    found = wanted.merge(epochs, on=["folder", "step"]).drop_duplicates(["folder", "metric", "epoch"], keep="last")
    return found, (note,) if lost else ()


def _together(group: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Mean and standard deviation over the runs of a setting, at epochs that all of them reached; and at how many not."""
    groups = group.groupby(["metric", "epoch"], sort=False)
    by = groups["value"].agg(["mean", "std", "count"]).assign(stderr=groups["stderr"].first()).reset_index()
    # Over several runs the spread between them is the error.
    by["stderr"] = by["stderr"].astype(float).where(by["count"] == 1)
    whole = by["count"] == by.groupby("metric")["count"].transform("max")
    by = by[whole]
    first = group.iloc[0]
    kept = {name: first[name] for name in (*SETTING, "rest", "source", "step", *CALLED)} | as_one(group)
    renamed = by.rename(columns={"mean": "value", "std": "spread", "count": "runs"})
    states = joined([state for state in group["state"].dropna().unique() if state not in ("", "done")])
    return renamed.assign(**kept, state=states).sort_values(["metric", "epoch"]), int((~whole).sum())


def _handle(curve: Line) -> Line2D:
    state = curve.rows["state"].iloc[0]
    handle = curve.handle(f"{curve.label} ({state})" if state else "")
    if not any(_marked(metric, rows) for metric, rows in curve.rows.groupby("metric")):
        handle.set_marker("")
    return handle


def _marked(metric: Hashable, rows: pd.DataFrame) -> bool:
    """Whether points are marked: those of an evaluation are few and say where it took place; a line shows itself."""
    return len(rows) == 1 or (metric in _EVALUATED and len(rows) < 12)


def _key(data: pd.DataFrame) -> list[Line2D]:
    if not (data["metric"] == _OWN).any():
        return []
    thin = Line2D([], [], color=style.DARK_GREY, alpha=0.75, label="thin: own bound")
    thin.set_linewidth(0.45 * thin.get_linewidth())
    return [thin]


def _panel(axes: Axes, metric: str, curves: Sequence[Line], data: pd.DataFrame) -> None:
    own = data[data["metric"].isin(_drawn_in(metric))]
    for curve in curves:
        for name in _drawn_in(metric):
            _curve(axes, name, curve)
    axes.set_xlim(*_ends(data["epoch"].astype(float)))
    if metric != "kl_q_p":
        axes.set_ylim(*_limits(own))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlabel("epoch")
    axes.set_ylabel(PANELS[metric] if (own["metric"] == metric).any() else "own bound (nats)")


def _ends(epochs: "pd.Series[float]") -> tuple[float, float]:
    """Of the axis of epochs; a single one stands in the middle."""
    first, last = epochs.min(), epochs.max()
    return (first - 1, last + 1) if first == last else (min(1, first), max(2, last) + 0.02 * last)


def _curve(axes: Axes, name: str, curve: Line) -> None:
    rows = curve.rows[curve.rows["metric"] == name]
    if rows.empty:
        return
    look = curve.style
    (line,) = axes.plot(
        rows["epoch"], rows["value"], color=look.colour, linestyle=look.dashes, label=curve.label, gid=name,
        marker=look.marker if _marked(name, rows) else "", alpha=0.75 if name == _OWN else 1.0,
    )  # fmt: skip
    if name == _OWN:
        line.set_linewidth(0.45 * line.get_linewidth())
    elif len(rows) > 1 and rows["spread"].notna().any():
        low, high = rows["value"] - rows["spread"], rows["value"] + rows["spread"]
        axes.fill_between(rows["epoch"].astype(float), low, high, color=look.colour, alpha=0.2, linewidth=0)
    else:
        _bars(axes, rows["epoch"].astype(float), rows, look.colour)


def _side_by_side(axes: Axes, metric: str, curves: Sequence[Line], data: pd.DataFrame) -> None:
    """A point with its error for each line, in the order of the legend."""
    for place, curve in enumerate(curves):
        rows = curve.rows[curve.rows["metric"] == metric]
        if len(rows):
            _bars(axes, [place], rows, curve.style.colour)
            axes.plot(
                [place], rows["value"], color=curve.style.colour, linestyle="none", marker=curve.style.marker,
                label=curve.label, gid=metric,
            )  # fmt: skip
    axes.set_xlim(-0.7, len(curves) - 0.3)
    axes.set_xticks([])
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.set_xlabel(f"after epoch {joined(data[data['metric'] == metric]['epoch'].unique())}, in the legend's order")
    axes.set_ylabel(PANELS[metric])


def _bars(axes: Axes, places: "Sequence[float] | pd.Series[float]", rows: pd.DataFrame, colour: str) -> None:
    reach = _reach(rows)
    axes.vlines(places, rows["value"] - reach, rows["value"] + reach, color=colour, gid="error")


def _reach(rows: pd.DataFrame) -> "pd.Series[float]":
    """How far errors reach: over the runs of a setting, else of the evaluation; 0 where neither is known."""
    return rows["spread"].fillna(rows["stderr"]).fillna(0.0)


def _limits(data: pd.DataFrame) -> tuple[float, float]:
    """Ends of the y axis; first epochs that would flatten all the rest lie outside."""
    last = data.groupby("line")["epoch"].transform("max")
    reach = _reach(data)
    late = (data["value"] - reach)[data["epoch"] > 0.25 * last]
    top, low = (data["value"] + reach).max(), (data["value"] - reach).min()
    low = late.min() if late.min() < top and top - low > 3 * (top - late.min()) else low
    margin = 0.05 * (top - low) or 1.0
    return float(low - margin), float(top + margin)


def _caption(data: pd.DataFrame) -> str:
    runs = int(data["runs"].max())
    band = f" Lines are means over up to {runs} seeds, bands ± one standard deviation between them." if runs > 1 else ""
    errors = {
        "spread": "one standard deviation between seeds",
        "stderr": "the standard error over test points where there is one run",
    }
    found = data[data["metric"].isin(_EVALUATED)]
    known = [text for column, text in errors.items() if found[column].notna().any()]
    bars = f" log p̂(x) and KL(Q‖P): where checkpoints were evaluated; bars ± {', or '.join(known)}." if known else ""
    return (
        "Thick: the 64-sample bound on held-out test points after each epoch; thin: the estimator's own bound with "
        "its own M and K, averaged over the training set while the parameters change. Trained on "
        f"{joined(data['trained_on'].unique()) or 'unknown data'}.{band}{bars} First epochs may lie below the axis."
    )


def _alt(curves: Sequence[Line], shown: Sequence[str]) -> str:
    parts = []
    for metric in shown:
        own = [Line(c.label, c.style, c.rows[c.rows["metric"] == metric]) for c in curves]
        parts.append(f"{metric}: {'; '.join(trend(line, 'epoch') for line in own if len(line.rows))}")
    return f"Line chart along training. {'. '.join(parts)}."


figure = FigureKind(
    title="Training",
    section="training",
    needs=("metrics", "evaluations"),
    command=COMMAND,
    definition=(
        "IWAE-64: 64-sample importance-weighted bound per test point. log p̂(x): the bound with thousands of "
        "samples. KL(Q‖P) "
        "= log p̂ − IWAE-64, which is at least 0."
    ),
    uncertainty=(
        "Bands and bars: ± one standard deviation between seeds, where a setting was trained with several; else bars: ± "
        "standard error over test points."
    ),
    draw=draw,
)
