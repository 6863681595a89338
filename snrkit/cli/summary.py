"""Tables of measurements for the terminal."""

import math
from typing import TYPE_CHECKING, Any

from rich.table import Table

from snrkit.runs.metrics import METRICS, describe

if TYPE_CHECKING:
    import pandas as pd

_NETWORKS = ("inference", "generative")
_CAPTION = "* the 95 % interval reaches down to the floor: no signal shown"
_PARTIAL = "\n(partial) interrupted: from the draws finished by then"
_MAIN = "snr_mean"


def snr_table(table: "pd.DataFrame", title: str) -> Table | None:
    """One line per (estimator, M, K): snr_mean of both networks (or of the blocks measured) and the floor.

    A star marks what noise could read too. None if snr_mean was not measured.
    """
    means = table[table.metric == _MAIN]
    if means.empty:
        return None
    present = list(dict.fromkeys(means.block))
    blocks = [name for name in _NETWORKS if name in present] or present
    caption = _CAPTION + ("" if table.complete.all() else _PARTIAL)
    shown = Table("estimator", title=title, caption=caption)
    for column in ("M", "K", "draws", *(f"SNR {block} ± se" for block in blocks), "floor"):
        shown.add_column(column, justify="right")
    for (estimator, options, M, K), rows in means.groupby(["estimator", "options", "M", "K"], sort=False):
        found = [rows[rows.block == block] for block in blocks]
        cells = ["-" if row.empty else _reading(row.iloc[0]) for row in found]
        floors = dict.fromkeys(f"{row.floor.iloc[0]:.3f}" for row in found if not row.empty)
        draws = "/".join(dict.fromkeys(str(count) for count in rows.draws))
        name = f"{estimator} ({options})" if options else str(estimator)
        mark = "" if rows.complete.all() else " (partial)"
        shown.add_row(name + mark, str(M), str(K), draws, *cells, " / ".join(floors))
    return shown


def _reading(row: "pd.Series[Any]") -> str:
    if math.isnan(row.value):
        return "-"
    star = " *" if not row.ci_low > row.floor else ""
    return f"{row.value:.4f} ± {row.stderr:.4f}{star}"


def extra_table(table: "pd.DataFrame") -> Table | None:
    """Other metrics for people, such as bias and DSNR, of both networks; None if none was measured.

    Where not even snr_mean was asked for, what was is shown, whatever it is.
    """
    others = [name for name in METRICS.names if name != _MAIN and describe(name).shown]
    rows = table[table.metric.isin(others) & table.block.isin(_NETWORKS)]
    if not (table.metric == _MAIN).any():
        rows = table[table.block.isin((*_NETWORKS, "all"))]
    if rows.empty:
        return None
    shown = Table(
        "estimator", "metric", "network", title="other metrics (definitions and targets: in the Parquet file)"
    )
    for column in ("M", "K", "value ± se", "95 % interval"):
        shown.add_column(column, justify="right")
    for row in _records(rows):
        # At a clipped 0 the delta method gives no error; the interval says all there is.
        error = "" if math.isnan(row["stderr"]) else f" ± {row['stderr']:.2g}"
        undefined = math.isnan(row["value"])
        value = "undefined" if undefined else f"{row['value']:.3g}{error}"
        interval = "-" if undefined else f"{row['ci_low']:.3g} to {row['ci_high']:.3g}"
        shown.add_row(row["estimator"], row["metric"], row["block"], str(row["M"]), str(row["K"]), value, interval)
    return shown


def _records(rows: "pd.DataFrame") -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = rows.to_dict("records")  # type: ignore[assignment]
    return records


def slope_table(slopes: "pd.DataFrame") -> Table | None:
    """Slopes of both networks with their verdicts; None if there are none."""
    rows = slopes[slopes.block.isin(_NETWORKS)]
    if rows.empty:
        return None
    shown = Table("estimator", "network", "against", title="slope of log snr_pooled")
    for column in ("M", "K", "slope ± se", "theory"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict")
    # By algebra the slope against K is the same at every M; such rows are shown as one.
    alike = ["estimator", "options", "block", "axis", "over", "slope", "stderr", "verdict"]
    for _, group in rows.groupby(alike, sort=False, dropna=False):
        row = _records(group)[0]
        name = f"{row['estimator']} ({row['options']})" if row["options"] else str(row["estimator"])
        value = "-" if math.isnan(row["slope"]) else f"{row['slope']:+.3f} ± {row['stderr']:.3f}"
        fixed = ",".join(map(str, group.fixed))
        M, K = (fixed, row["over"]) if row["axis"] == "K" else (row["over"], fixed)
        verdict = row["verdict"] if row["verdict"] == "agrees" else f"{row['verdict']}: {row['reason']}"
        shown.add_row(name, row["block"], row["axis"], M, K, value, f"{row['expected']:+.1f}", verdict)
    return shown


def comparison_table(comparisons: "pd.DataFrame") -> Table | None:
    """Differences between estimators in both networks; None if there are none."""
    rows = comparisons[comparisons.block.isin(_NETWORKS)]
    if rows.empty:
        return None
    shown = Table("estimators", "network", title="ratio of snr_pooled on the same noise")
    for column in ("M", "K", "log ratio ± se"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict")
    for row in _records(rows):
        value = "-" if math.isnan(row["log_ratio"]) else f"{row['log_ratio']:+.3f} ± {row['stderr']:.3f}"
        shown.add_row(
            f"{row['first']} / {row['second']}", row["block"], str(row["M"]), str(row["K"]), value, row["verdict"]
        )
    return shown
