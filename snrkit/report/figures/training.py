"""Bounds and the KL divergence along training."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.layout import panels
from snrkit.report.lines import Line, fewest, joined, lines, trend
from snrkit.report.repetitions import SETTING, common_name, own_data
from snrkit.report.style import Look

COMMAND = "snrkit train"

# Metric -> y label.
PANELS = {"iwae_64": "IWAE-64 (nats)", "log_p": "log $\\hat{p}$(x) (nats)", "kl_q_p": "KL(Q‖P) (nats)"}
_OWN = "bound"
_TWIN = ["line", "metric", "epoch", "value", "spread", "runs", "estimator", "options", "M", "K", "trained_on"]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """IWAE-64 after each epoch with the estimator's own bound, and log p̂ and KL where checkpoints were evaluated.

    Runs that differ only in their seed are one line, their mean, with a band of one standard deviation.
    """
    metrics = tables["metrics"]
    if metrics.empty:
        return Missing(f"no metrics.jsonl found: run '{COMMAND}'")
    found = pd.concat([_followed(metrics), _evaluated(metrics, tables["evaluations"])], ignore_index=True)
    finite = np.isfinite(found["value"].astype(float))
    rows = found[finite]
    if rows.empty:
        return Missing(f"no finite bound in any metrics.jsonl: run '{COMMAND}'")
    notes = (f"{int((~finite).sum())} values are not finite and not drawn",) if not finite.all() else ()
    rows = rows.assign(options=rows["options"].fillna(""))
    together = [_together(group) for _, group in rows.groupby(SETTING, sort=False, dropna=False)]
    groups, over = fewest(together)
    curves = lines(groups, ["trained_on", "M", "K", "model", "run"])
    data = pd.concat([curve.rows for curve in curves], ignore_index=True)
    shown = [metric for metric in PANELS if (data["metric"] == metric).any()] or ["iwae_64"]
    handles = [*(_handle(curve) for curve in curves), *_key(data)]
    figure, axes = panels(look, len(shown), handles=handles, side=False, height=15)
    for place, metric in zip(axes, shown, strict=True):
        _panel(place, metric, curves, data)
    for place in axes[:-1]:
        place.tick_params(labelbottom=False)
    axes[-1].set_xlabel("epoch")
    return Drawing(figure, data[_TWIN], _caption(data), _alt(curves, shown), (*notes, *over))


def _followed(metrics: pd.DataFrame) -> pd.DataFrame:
    """What was noted after each epoch, long."""
    keys = [*SETTING, "run", "folder", "source", "epoch", "step", "state"]
    known = {column: name for column, name in ((_OWN, _OWN), ("test_iwae64", "iwae_64")) if column in metrics}
    parts = [
        metrics.assign(metric=name, value=metrics[column])[[*keys, "metric", "value"]] for column, name in known.items()
    ]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*keys, "metric", "value"])
    return rows[rows["value"].notna() | (rows["metric"] == _OWN)]


def _evaluated(metrics: pd.DataFrame, evaluations: pd.DataFrame) -> pd.DataFrame:
    """Evaluations of log p̂ and KL at kept checkpoints and at the end, with their epoch; of the run's first data."""
    wanted = evaluations[evaluations["metric"].isin(["log_p", "kl_q_p"])]
    if wanted.empty:
        return wanted
    wanted = own_data(wanted)
    epochs = metrics[["folder", "step", "epoch"]].drop_duplicates(["folder", "step"], keep="last")
    return wanted.merge(epochs, on=["folder", "step"]).drop_duplicates(["folder", "metric", "epoch"], keep="last")


def _together(group: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the runs of a setting, at epochs that all of them reached."""
    by = group.groupby(["metric", "epoch"], sort=False)["value"].agg(["mean", "std", "count"]).reset_index()
    by = by[by["count"] == by.groupby("metric")["count"].transform("max")]
    first = group.iloc[0]
    kept = {name: first[name] for name in (*SETTING, "source", "step")} | {"run": common_name(group["run"])}
    renamed = by.rename(columns={"mean": "value", "std": "spread", "count": "runs"})
    states = joined([state for state in group["state"].dropna().unique() if state not in ("", "done")])
    return renamed.assign(**kept, state=states).sort_values(["metric", "epoch"])


def _handle(curve: Line) -> Line2D:
    state = curve.rows["state"].iloc[0]
    handle = curve.handle(f"{curve.label} ({state})" if state else "")
    handle.set_marker("")
    return handle


def _key(data: pd.DataFrame) -> list[Line2D]:
    if not (data["metric"] == _OWN).any():
        return []
    thin = Line2D([], [], color=style.DARK_GREY, alpha=0.75, label="thin: own bound")
    thin.set_linewidth(0.45 * thin.get_linewidth())
    return [thin]


def _panel(axes: Axes, metric: str, curves: Sequence[Line], data: pd.DataFrame) -> None:
    own = [metric, *([_OWN] if metric == "iwae_64" else [])]
    for curve in curves:
        for name in own:
            _curve(axes, name, curve)
    epochs = data["epoch"].astype(float)
    axes.set_xlim(min(1, epochs.min()), max(2, epochs.max()) + 0.02 * epochs.max())
    if metric != "kl_q_p":
        axes.set_ylim(*_limits(data[data["metric"].isin(own)]))
    axes.xaxis.set_major_locator(MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_ylabel(PANELS[metric])


def _curve(axes: Axes, name: str, curve: Line) -> None:
    rows = curve.rows[curve.rows["metric"] == name]
    if rows.empty:
        return
    look = curve.style
    few = len(rows) < 12
    (line,) = axes.plot(
        rows["epoch"], rows["value"], color=look.colour, linestyle=look.dashes, label=curve.label, gid=name,
        marker=look.marker if few else "", alpha=0.75 if name == _OWN else 1.0,
    )  # fmt: skip
    if name == _OWN:
        line.set_linewidth(0.45 * line.get_linewidth())
    elif rows["spread"].notna().any():
        low, high = rows["value"] - rows["spread"], rows["value"] + rows["spread"]
        axes.fill_between(rows["epoch"].astype(float), low, high, color=look.colour, alpha=0.2, linewidth=0)


def _limits(data: pd.DataFrame) -> tuple[float, float]:
    """Ends of the y axis; first epochs that would flatten all the rest lie outside."""
    last = data.groupby("line")["epoch"].transform("max")
    reach = data["spread"].fillna(0.0)
    late = (data["value"] - reach)[data["epoch"] > 0.25 * last]
    top, low = (data["value"] + reach).max(), (data["value"] - reach).min()
    low = late.min() if late.min() < top and top - low > 3 * (top - late.min()) else low
    margin = 0.05 * (top - low) or 1.0
    return float(low - margin), float(top + margin)


def _caption(data: pd.DataFrame) -> str:
    runs = int(data["runs"].max())
    band = f" Lines are means over up to {runs} seeds, bands ± one standard deviation between them." if runs > 1 else ""
    return (
        "Thick: the 64-sample bound on held-out test points after each epoch; thin: the estimator's own bound with "
        "its own M "
        "and K, averaged over the training set while the parameters change. log p̂(x) and KL(Q‖P) where checkpoints were "
        f"evaluated. Trained on {joined(data['trained_on'].unique()) or 'unknown data'}.{band} First epochs may lie below "
        "the axis."
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
    uncertainty="Bands: ± one standard deviation between seeds, where a setting was trained with several.",
    draw=draw,
)
