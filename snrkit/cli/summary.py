"""Tables of measurements for the terminal."""

import math
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ("inference", "generative")


def snr_table(table: "pd.DataFrame", title: str) -> Table:
    """One line per (estimator, M, K): snr_mean of both networks and the floor. A star marks what noise could read too."""
    shown = Table("estimator", title=title, caption="* the 95 % interval reaches down to the floor: no signal shown")
    for column in ("M", "K", "SNR inference ± se", "SNR generative ± se", "floor"):
        shown.add_column(column, justify="right")
    means = table[table.metric == "snr_mean"]
    for (estimator, options, M, K), rows in means.groupby(["estimator", "options", "M", "K"], sort=False):
        cells, floors = [], []
        for block in _SHOWN:
            row = rows[rows.block == block]
            cells.append("-" if row.empty else _reading(row.iloc[0]))
            floors += [f"{floor:.3f}" for floor in row.floor]
        name = f"{estimator} ({options})" if options else str(estimator)
        shown.add_row(name, str(M), str(K), *cells, " / ".join(dict.fromkeys(floors)))
    return shown


def _reading(row: "pd.Series[Any]") -> str:
    if math.isnan(row.value):
        return "-"
    star = " *" if not row.ci_low > row.floor else ""
    return f"{row.value:.4f} ± {row.stderr:.4f}{star}"


def _records(rows: "pd.DataFrame") -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = rows.to_dict("records")  # type: ignore[assignment]
    return records


def slope_table(slopes: "pd.DataFrame") -> Table | None:
    """Slopes of both networks with their verdicts; None if there are none."""
    rows = slopes[slopes.block.isin(_SHOWN)]
    if rows.empty:
        return None
    shown = Table("estimator", "network", "against", title="slope of log snr_pooled")
    for column in ("slope ± se", "theory"):
        shown.add_column(column, justify="right")
    shown.add_column("verdict")
    for row in _records(rows):
        name = f"{row['estimator']} ({row['options']})" if row["options"] else str(row["estimator"])
        value = "-" if math.isnan(row["slope"]) else f"{row['slope']:+.3f} ± {row['stderr']:.3f}"
        other = "M" if row["axis"] == "K" else "K"
        verdict = row["verdict"] if row["verdict"] == "agrees" else f"{row['verdict']}: {row['reason']}"
        shown.add_row(
            name, row["block"], f"{row['axis']} at {other}={row['fixed']}", value, f"{row['expected']:+.1f}", verdict
        )
    return shown


def comparison_table(comparisons: "pd.DataFrame") -> Table | None:
    """Differences between estimators in both networks; None if there are none."""
    rows = comparisons[comparisons.block.isin(_SHOWN)]
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
