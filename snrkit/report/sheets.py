"""The tables of the report, by name: what they need, and how they are made from the result files."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from snrkit.report.against import runs as runs_against
from snrkit.report.blocks import NETWORKS
from snrkit.report.collect import Tables
from snrkit.report.decided import paired_estimators, paired_runs
from snrkit.report.drawing import Missing, Sheet
from snrkit.report.gradients import gradients
from snrkit.report.lines import joined, latest
from snrkit.report.naming import differing, told_apart
from snrkit.report.repetitions import last_evaluations, settings, steps_notes
from snrkit.report.style import estimator_label
from snrkit.report.tables import Cell, Column, rounded, sheet
from snrkit.report.titles import METRICS, title


@dataclass(frozen=True)
class SheetKind:
    """A table of the report, before any data.

    Attributes:
        needs: kinds of result files it is made from.
        section: part of the story it belongs to.
        make: makes it, or says what is missing.
        against: whether it is of comparisons with a baseline, and made only where one is named.
    """

    needs: tuple[str, ...]
    section: str
    make: Callable[[Tables], Sheet | Missing]
    against: bool = False


def evaluation(tables: Tables) -> Sheet | Missing:
    """Settings against metrics: value ± error, bold where best beyond doubt, published values beside ours."""
    found = tables["evaluations"]
    if found.empty:
        return Missing("no evaluation.json found: run 'snrkit evaluate --ckpt CHECKPOINT'")
    runs = last_evaluations(found)
    rows = settings(runs, ["data", "metric"])
    groups = [group.set_index("metric") for _, group in rows.groupby(["setting", "data"], sort=False)]
    present = list(dict.fromkeys(rows["metric"]))
    metrics = [metric for metric in METRICS if metric in present] + [m for m in present if m not in METRICS]
    published = _published(groups, tables["published"])
    keys = [group.iloc[0] for group in groups]
    trained = _trained(keys)
    told, seeds = _are_told(keys, trained), any(key["runs"] > 1 for key in keys)
    columns = [
        Column("run", "run", printed=False), Column("name", "name", printed=not told),
        Column("trained_with", "trained with"), Column("data", "data"),
        *([Column("seeds", "seeds")] if seeds else []),
    ]  # fmt: skip
    for metric in metrics:
        heading, latex, _ = METRICS.get(metric, (metric, "", 0))
        columns.append(Column(metric, heading, latex, numbers=True))
        if any(metric in known for known in published):
            columns.append(Column(f"{metric}_published", "published", numbers=True))
    bold, finest = _best(groups, metrics), _finest(tables)
    cells = []
    for index, (group, key, data) in enumerate(zip(groups, keys, _tested(keys), strict=True)):
        row = [Cell(str(key["run"])), Cell(str(key["called"])), Cell(trained[index]), Cell(data)]
        row += [Cell(str(key["runs"]))] if seeds else []
        for metric in metrics:
            row.append(_score(group, metric, (index, metric) in bold, finest.get((key["data"], metric), math.nan)))
            if any(metric in known for known in published):
                row.append(published[index].get(metric, Cell("")))
        cells.append(row)
    return sheet(
        columns, cells, "Evaluation of the trained models", [*_notes(runs, metrics, published), *steps_notes(rows)]
    )


def _are_told(keys: Sequence["pd.Series[Any]"], trained: Sequence[str]) -> bool:
    """Whether what rows were trained with is enough to tell them apart, and the user did not give them names."""
    texts = {(text, key["data"]) for key, text in zip(keys, trained, strict=True)}
    return all(trained) and len(texts) == len(keys) and not any(key["named"] for key in keys)


def _finest(tables: Tables) -> dict[tuple[str, str], float]:
    """(data, metric) to the smallest error of a difference to the baseline, if one is named: that is what is read."""
    if not tables.chosen.baseline:
        return {}
    found = tables.once(runs_against).table
    known = found[(found["stderr"] > 0) & (found["points"] > 0)]
    smallest = known.groupby(["data", "metric"])["stderr"].min().reset_index().to_dict("records")
    return {(row["data"], row["metric"]): float(row["stderr"]) for row in smallest}


def _score(group: pd.DataFrame, metric: str, bold: bool, by: float) -> Cell:
    if metric not in group.index:
        return Cell("")
    return Cell(*rounded(float(group["value"][metric]), float(group["stderr"][metric]), by), bold=bold)


def _trained(keys: Sequence["pd.Series[Any]"]) -> list[str]:
    """What each was trained with: estimator, M and K, and whatever else tells the settings apart."""
    found = [
        f"{estimator_label(key['estimator'], key['options'])}, M = {key['M']}, K = {key['K']}"
        if key["estimator"]
        else ""
        for key in keys
    ]
    found = told_apart(found, [f"on {key['trained_on']}" for key in keys])
    found = told_apart(found, [f"model {key['model']}" for key in keys])
    return told_apart(found, differing(found, keys))


def _tested(keys: Sequence["pd.Series[Any]"]) -> list[str]:
    """What each was tested on; which part of the data, and how they were made binary, where that differs."""
    found = [str(key["data_title"]) for key in keys]
    found = told_apart(found, [key["part"] for key in keys])
    return told_apart(found, [key["binarised"] for key in keys])


def _best(groups: Sequence[pd.DataFrame], metrics: Sequence[str]) -> set[tuple[int, str]]:
    """(row, metric) of values better than every other on the same data, intervals apart."""
    found = set()
    for metric in metrics:
        way = METRICS.get(metric, ("", "", 0))[2]
        for data in {group["data"].iloc[0] for group in groups}:
            rows = [i for i, g in enumerate(groups) if metric in g.index and g["data"].iloc[0] == data]
            if way == 0 or len(rows) < 2:
                continue
            # Ends of the intervals on the better and on the worse side, larger being better.
            worse, better = (
                [way * float(groups[i][end][metric]) for i in rows] for end in (("ci_low", "ci_high")[::way])
            )
            first = int(np.argmax([w if math.isfinite(w) else -math.inf for w in worse]))
            if all(worse[first] > b for i, b in enumerate(better) if i != first):
                found.add((rows[first], metric))
    return found


def _published(groups: Sequence[pd.DataFrame], published: pd.DataFrame) -> list[dict[str, Cell]]:
    """For each group the published values of the same data, estimator, options, M and K, by metric."""
    found = []
    for group in groups:
        own = group.iloc[0]
        same = published[
            (published["data"] == own["trained_on"]) & (published["estimator"] == own["estimator"])
            & (published["options"] == own["options"]) & (published["M"] == own["M"]) & (published["K"] == own["K"])
        ]  # fmt: skip
        same = same if own["data_name"] == own["trained_on"] else same.head(0)
        found.append({row["metric"]: Cell(*_as_printed(row["value"], row["error"])) for row in same.to_dict("records")})
    return found


def _as_printed(value: Any, error: Any) -> tuple[str, str]:
    """A published value is not rounded again."""
    return f"{value:g}", "" if pd.isna(error) else f"{error:g}"


def _notes(runs: pd.DataFrame, metrics: Sequence[str], published: Sequence[dict[str, Cell]]) -> list[str]:
    """What the numbers mean and where they were taken, a phrase each."""
    notes = [
        "Value ± standard error, over seeds where a setting has several, else over data points",
        "Bold: best on that data, its 95 % interval apart from every other",
    ]
    for metric in metrics:
        own = runs[runs["metric"] == metric]["definition"].unique()
        notes.append(f"{title(metric)}: {'; or '.join(dict.fromkeys(own))}")
    for row in runs.drop_duplicates(["folder", "data"]).to_dict("records"):
        notes.append(
            f"{row['called']}: {row['data']}, {row['points']} points, {row['samples']} samples, step {row['step']}"
        )
    if any(published):
        notes.append("Published: as printed there, ± as defined there")
    return notes


def slopes(tables: Tables) -> Sheet | Missing:
    """Fitted slopes of both networks beside theory's, with the verdict."""
    found = tables["slopes"]
    found = latest(found[found["block"].isin(NETWORKS)]) if len(found) else found
    if found.empty:
        return Missing("no slopes were fitted: run 'snrkit snr --ckpt CHECKPOINT --K 1,10,100,1000'")
    # By algebra the slope against K is the same at every M.
    repeated = found.sort_values("fixed").duplicated(
        ["source", "run", "data", "estimator", "options", "block", "axis", "method", "seed", "over"]
    )
    found = found[~repeated.reindex(found.index) | (found["axis"] == "M") | found["direct"].astype(bool)]
    # A run that was measured on several draws has a slope of each.
    apart = [name for name in ("step", "seed", "data") if found.groupby("called")[name].nunique().max() > 1]
    columns = [
        Column("run", "run", printed=False), Column("of", "run", printed=found["called"].nunique() > 1),
        *(Column(name, name) for name in apart),
        Column("estimator", "estimator"), Column("network", "network"), Column("against", "against"),
        Column("over", "fitted over"), Column("slope", "slope", numbers=True), Column("theory", "theory"),
        Column("verdict", "verdict"),
    ]  # fmt: skip
    rows = [
        [
            Cell(str(row["run"])), Cell(str(row["called"])), *(Cell(str(row[name])) for name in apart),
            Cell(estimator_label(row["estimator"], row["options"])), Cell(row["block"]),
            Cell(row["axis"]), Cell(str(row["over"]).replace(",", ", ")),
            Cell(*rounded(float(row["slope"]), float(row["stderr"]))), Cell(f"{row['expected']:+.1f}"),
            Cell(row["verdict"] if row["verdict"] == "agrees" else f"{row['verdict']}: {row['reason']}"),
        ]
        for row in found.to_dict("records")
    ]  # fmt: skip
    notes = [
        "Slope: d log snr_pooled / d log K (or M) ± standard error, weights fixed beforehand, jackknife over "
        "blocks of draws",
        f"Gradients of {joined(found['data'].unique())}",
    ]
    return sheet(columns, rows, "Slopes of the signal-to-noise ratio", notes)


SHEETS = {
    "evaluation": SheetKind(("evaluations", "points", "published"), "bound", evaluation),
    "slopes": SheetKind(("slopes",), "gradients", slopes),
    "gradients": SheetKind(("snr",), "gradients", gradients),
    "paired_runs": SheetKind(("evaluations", "points"), "bound", paired_runs, against=True),
    "paired_estimators": SheetKind(("comparisons",), "gradients", paired_estimators, against=True),
}
