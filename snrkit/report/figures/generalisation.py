"""Models evaluated on other data than they were trained on, as a matrix."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.escape import mathtext
from snrkit.report.layout import named_rows, panels
from snrkit.report.lines import joined
from snrkit.report.naming import names
from snrkit.report.repetitions import last_evaluations, settings, steps_notes
from snrkit.report.style import Look
from snrkit.report.tables import rounded

COMMAND = "snrkit evaluate --ckpt CHECKPOINT --data omniglot"

# Metric -> heading of its panel.
METRICS = {"log_p": "log $\\hat{p}$(x), nats", "ssim": "SSIM"}
_TWIN = ["setting_label", "run", "trained_on", "tested_on", "metric", "value", "stderr", "runs", "data"]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """A panel per metric: settings and what they were trained on down, what they were tested on across."""
    rows = tables["evaluations"]
    rows = rows[rows["metric"].isin(METRICS) & (rows["trained_on"] != "")]
    rows = rows[np.isfinite(rows["value"].astype(float))]
    rows = rows.assign(tested_on=rows["data_name"])
    crossed = rows[rows["tested_on"] != rows["trained_on"]]
    if crossed.empty:
        return Missing(f"no run was evaluated on other data than its own: run '{COMMAND}'")
    rows = rows[rows["folder"].isin(crossed["folder"])]
    data, notes = _most_shared(settings(last_evaluations(rows), ["data", "tested_on", "metric"]))
    down = _down(data)
    data = data.assign(setting_label=data["setting"].map(down))
    metrics = [metric for metric in METRICS if (data["metric"] == metric).any()]
    labels, height = named_rows(look, list(down.values()))
    figure, axes = panels(look, len(metrics), side=False, height=height + 2)
    for place, metric in zip(axes, metrics, strict=True):
        _matrix(place, data[data["metric"] == metric], list(down), METRICS[metric])
        place.set_yticks(np.arange(len(labels)) + 0.5, labels)
    return Drawing(figure, data[_TWIN], _caption(data), _alt(data), (*notes, *steps_notes(data)))


def _most_shared(data: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Of each kind of data the test set that most settings share, and a line about the others.

    Values on different test points do not compare, so a column holds those on one test set alone.
    """
    settings_on = data.groupby(["tested_on", "data"], sort=False)["setting"].nunique()
    kept = data["data"].isin([test_set for _, test_set in settings_on.groupby("tested_on").idxmax()])
    note = f"left out, as fewer settings were tested there: {joined(data[~kept]['data'].unique())}"
    return data[kept], () if kept.all() else (note,)


def _down(data: pd.DataFrame) -> dict[str, str]:
    """The rows of all panels: setting to label."""
    found: dict[str, str] = {}
    for trained_on, own in data.drop_duplicates("setting").groupby("trained_on", sort=False):
        keys = [row for _, row in own.iterrows()]
        labels = names(keys, ["M", "K", "model"])
        found |= {key["setting"]: f"{label}, {trained_on}" for key, label in zip(keys, labels, strict=True)}
    return found


def _matrix(axes: Axes, data: pd.DataFrame, down: Sequence[str], title: str) -> None:
    import seaborn as sns

    across = list(dict.fromkeys(data["tested_on"]))
    values, texts = np.full((len(down), len(across)), np.nan), np.full((len(down), len(across)), "", object)
    for row in data.to_dict("records"):
        place = down.index(row["setting"]), across.index(row["tested_on"])
        values[place] = row["value"]
        texts[place] = " ± ".join(part for part in rounded(row["value"], row["stderr"]) if part).replace("-", "−")
    # Within a column data sets are the same, so shades compare models on equal terms.
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    shade = (values - low) / np.where(high > low, high - low, 1.0)
    written = {"fontsize": "small", "color": mpl.rcParams["text.color"], "gid": "value"}
    sns.heatmap(
        shade, cmap="Blues", vmin=-0.2, vmax=2.2, cbar=False, annot=texts, fmt="", annot_kws=written, ax=axes,
        xticklabels=[mathtext(name) for name in across], yticklabels=False,
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("tested on")
    axes.set_title(title)


def _caption(data: pd.DataFrame) -> str:
    return (
        "Trained models (rows, with what they were trained on) on test sets of other data (columns). ± standard "
        "error, over seeds "
        "where a setting has several, else over test points. Darker: higher within a column. Tested on "
        f"{joined(data['data'].unique())}."
    )


def _alt(data: pd.DataFrame) -> str:
    texts = [
        f"{row['setting_label']} tested on {row['tested_on']}: {row['metric']} {row['value']:.4g}"
        for row in data.to_dict("records")
    ]
    return f"Matrix of test metrics. {'; '.join(texts)}."


figure = FigureKind(
    title="Generalisation to other data",
    section="bound",
    needs=("evaluations",),
    command=COMMAND,
    definition=(
        "log p̂(x): the bound with thousands of samples. SSIM: structural similarity of a reconstruction, "
        "11×11 Gaussian window."
    ),
    uncertainty="± standard error, over seeds where a setting has several, else over test points.",
    draw=draw,
)
