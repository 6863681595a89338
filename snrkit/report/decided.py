"""The tables of comparisons with a baseline: differences, intervals and verdicts, for a paper."""

import math
from typing import Any

import pandas as pd

from snrkit.report.against import runs
from snrkit.report.collect import Tables
from snrkit.report.compared import Compared
from snrkit.report.drawing import Missing, Sheet
from snrkit.report.lines import joined
from snrkit.report.on_noise import estimators
from snrkit.report.tables import Cell, Column, decimals, fixed, rounded, sheet
from snrkit.report.titles import title
from snrkit.runs.paired import EQUAL, UNTOLD

_SHARED = (
    Column("difference", "difference", numbers=True), Column("ci_low", "", printed=False),
    Column("ci_high", "", printed=False), Column("interval", "95 % interval", kept=False), Column("verdict", "verdict"),
    Column("tellable", "told from"),
)  # fmt: skip
_TOLD = (
    "Verdict: higher or lower than the baseline where the interval excludes 0, equal where every single difference is 0. "
    "Told from: a true difference of this size would be told four times out of five"
)


def paired_runs(tables: Tables) -> Sheet | Missing:
    """Every setting's difference to the baseline's, metric by metric."""
    found = tables.once(runs)
    if found.table.empty:
        return Missing(
            _nothing(found, "no other evaluated runs there: run 'snrkit evaluate --ckpt CHECKPOINT --keep-points'")
        )
    table = found.table
    several = [name for name in ("trained_on", "data") if table[name].nunique() > 1]
    columns = [
        Column("what", "setting"), *(Column(name, name.replace("_", " ")) for name in several), Column("metric", "metric"),
        *_SHARED, Column("runs", "runs"), Column("points", "test points"),
    ]  # fmt: skip
    rows = [
        [Cell(row["what"]), *(Cell(str(row[name])) for name in several), Cell(title(row["metric"])), *_shared(row),
         Cell(str(row["runs"])), Cell(str(row["points"]) if row["points"] else "not paired")]
        for row in table.to_dict("records")
    ]  # fmt: skip
    base, others = joined(table["baseline"].unique()), _most(table)
    notes = [
        f"Difference to {base} ± standard error, on the same test points of {joined(table['data'].unique())}; runs of the "
        "same seed with each other",
        f"The interval {_together(others)}. {_whose(table)}",
        _TOLD,
    ]
    if (table["points"] == 0).any():
        notes.append(
            "Not paired: not known point by point (active units are not, all else with 'snrkit evaluate --keep-points'), so "
            "the errors of both are added as if apart"
        )
    return sheet(columns, rows, f"Runs against {base}", [*notes, *found.notes])


def paired_estimators(tables: Tables) -> Sheet | Missing:
    """Every estimator's pooled SNR beside the baseline's, on the same noise."""
    found = tables.once(estimators)
    if found.table.empty:
        return Missing(
            _nothing(found, "no second estimator measured: run 'snrkit snr --ckpt CHECKPOINT --estimator iwae,dreg'")
        )
    table = _at_least_m(found.table)
    several = [name for name in ("of", "data") if table[name].nunique() > 1]
    columns = [
        Column("estimator", "estimator"), *(Column(name, {"of": "trained with"}.get(name, name)) for name in several),
        Column("network", "network"), Column("M", "M"), Column("K", "K"), Column("ratio", "SNR ratio", numbers=True),
        *_SHARED,
    ]  # fmt: skip
    rows = [
        [Cell(row["what"]), *(Cell(str(row[name])) for name in several), Cell(row["block"]), Cell(str(row["M"])),
         Cell(str(row["K"])), _ratio(row), *_shared(row)]
        for row in table.to_dict("records")
    ]  # fmt: skip
    base = joined(table["baseline"].unique())
    lost = table["difference"].isna().any()
    notes = [
        f"SNR ratio: pooled SNR over that of {base}, on the same draws of the noise; difference: its natural logarithm ± "
        "standard error",
        f"The interval, of the difference, {_together(_most(table))}. "
        "Of one run it speaks of its parameters, of several of what they were trained with",
        _TOLD,
        "Estimators joined by = have the same gradient; by algebra the ratio is the same at every larger M",
        f"Gradients of {joined(table['data'].unique())}",
        *(["Without a difference: in a run one of the two stands in the noise, and has no logarithm"] if lost else []),
    ]
    return sheet(columns, rows, f"Estimators against {base}", [*notes, *found.notes])


def _nothing(found: Compared, otherwise: str) -> str:
    return otherwise if not found.notes else f"{found.notes[0]}" + ("" if len(found.notes) == 1 else "; and more")


def _at_least_m(table: pd.DataFrame) -> pd.DataFrame:
    """Without what follows from other rows by algebra: larger M of draws of units."""
    least = table.groupby(["of", "data", "block", "K"], dropna=False)["M"].transform("min")
    return table[table["direct"].astype(bool) | (table["M"] == least)]


def _most(table: pd.DataFrame) -> int:
    return int(table["together"].max())


def _together(others: int) -> str:
    return (
        f"holds together with those of all {others} compared (Bonferroni)"
        if others > 1
        else "is that of one comparison"
    )


def _whose(table: pd.DataFrame) -> str:
    """What the intervals speak of."""
    alone = "Of one run each it speaks of these runs, not of what they were trained with"
    several = (
        "Of several seeds it speaks of what these were trained with; the spread over seeds is pooled over the settings"
    )
    kinds = set(table["runs"] > 1)
    return alone if kinds == {False} else several if kinds == {True} else f"{several}. {alone}"


def _shared(row: dict[Any, Any]) -> list[Cell]:
    """The cells of ``_SHARED``."""
    if row["verdict"] == EQUAL:
        return [Cell("0"), Cell("0"), Cell("0"), Cell(""), Cell(EQUAL), Cell("")]
    value, error = float(row["difference"]), float(row["stderr"])
    if not math.isfinite(value) or not math.isfinite(row["ci_low"]):
        return [Cell(*rounded(value, error)), Cell(""), Cell(""), Cell(""), Cell(UNTOLD), Cell("")]
    digits = decimals(error)
    low, high = (fixed(float(row[name]), digits) for name in ("ci_low", "ci_high"))
    interval = f"{low} to {high}".replace("-", "−")
    smallest = fixed(float(row["tellable"]), digits)
    return [Cell(*rounded(value, error)), Cell(low), Cell(high), Cell(interval), Cell(row["verdict"]), Cell(smallest)]


def _ratio(row: dict[Any, Any]) -> Cell:
    value, error = math.exp(float(row["difference"])), float(row["stderr"])
    return Cell("1" if row["verdict"] == EQUAL else rounded(value, value * error)[0])
