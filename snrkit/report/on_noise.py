"""Estimators, or losses, against a baseline: on the same noise, over the runs of a setting."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from snrkit.report.baseline import meant_estimator, name_and_options
from snrkit.report.blocks import told
from snrkit.report.collect import Tables
from snrkit.report.compared import ESTIMATORS, FOUND, Compared, at_steps, columns
from snrkit.report.repetitions import shared_noise
from snrkit.report.style import estimator_label
from snrkit.runs.paired import Pair, differences

_AT = ["setting", "data", "method", "mode", "M", "K", "block"]


def estimators(tables: Tables) -> Compared:
    """Estimators against the baseline on the same noise, by log snr_pooled; those with the same gradient are one row."""
    rows = tables["comparisons"]
    rows = told(_last(rows), ["source", "run", "first", "second"]) if len(rows) else rows
    known = dict.fromkeys([*rows["first"], *rows["second"]])
    base = meant_estimator(tables.chosen.baseline, list(known))
    shown = tables.chosen.shows("snr_pooled")
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    if base is not None and shown:
        own = _against(rows, base)
        for _, group in own.groupby(_AT, sort=False, dropna=False):
            found += _on_noise(group, base)
        notes = list(_remarks(own))
    labels = tuple(estimator_label(*name_and_options(title)) for title in known)
    table = pd.DataFrame(found, columns=["metric", *ESTIMATORS, *FOUND])
    return Compared(table, tuple(notes), labels, base is not None)


def _last(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last step, whichever of its files has it."""
    return rows[rows["step"] == rows.groupby("who", dropna=False)["step"].transform("max")]


def _against(rows: pd.DataFrame, base: str) -> pd.DataFrame:
    """The comparisons with the baseline, as ``value`` of ``other`` minus it; of a run on the same draws those known best."""
    own = rows[(rows["first"] == base) | (rows["second"] == base)]
    way = np.where(own["second"] == base, 1.0, -1.0)
    own = own.assign(other=np.where(way > 0, own["first"], own["second"]), value=way * own["log_ratio"].astype(float))
    best = own.sort_values("stderr", kind="stable")
    return best.drop_duplicates(["who", *_AT, "seed", "other"]).sort_index()


def _on_noise(group: pd.DataFrame, base: str) -> list[dict[str, Any]]:
    """Comparisons at one M and K in one network, over the runs of a setting."""
    alike: dict[Any, list[str]] = {}
    sides = {str(other): own for other, own in group.groupby("other", sort=False)}
    for other, own in sides.items():
        read = own[["who", "seed", "value", "stderr"]]
        # What stands in the noise has no ratio, and is like nothing.
        whose = (other,) if read.isna().to_numpy().any() else tuple(map(tuple, read.to_numpy()))
        alike.setdefault(whose, []).append(other)
    found = differences([_pair(sides[others[0]]) for others in alike.values()])
    first = group.iloc[0]
    at = {"of": first["titled"], "data": first["data"], "block": first["block"], "M": first["M"], "K": first["K"],
          "direct": bool(first["direct"])}  # fmt: skip
    whole = {"baseline": estimator_label(*name_and_options(base)), "metric": "log snr_pooled"} | at
    return [
        {"what": " = ".join(estimator_label(*name_and_options(other)) for other in others)} | whole | columns(one)
        for others, one in zip(alike.values(), found, strict=True)
    ]


def _pair(own: pd.DataFrame) -> Pair:
    """A difference in each run: of one measured on several draws their mean; what runs share of the draws comes on top."""
    runs = own.assign(square=np.square(own["stderr"].astype(float))).groupby("who", sort=False, dropna=False)
    count = runs.size()
    values = runs["value"].sum(min_count=1) / count
    squares = runs["square"].sum(min_count=1)
    share = shared_noise(own["who"], own["seed"])
    # Of one reading where draws are shared: the share counts how many of a run are averaged. Else of a run's mean.
    variance = share * float((squares / count).mean()) if share else float((squares / count**2).mean())
    return Pair.of_values(values.to_numpy(), variance, degrees=_degrees(own), averages=share == 0)


def _degrees(rows: pd.DataFrame) -> float:
    """Of freedom of the errors, as many as the width of their intervals says."""
    reach = ((rows["ci_high"] - rows["ci_low"]) / 2 / rows["stderr"]).astype(float)
    wide = float(reach[np.isfinite(reach)].max()) if np.isfinite(reach).any() else math.nan
    degrees = np.arange(1, 200)
    return math.nan if math.isnan(wide) else float(degrees[np.abs(stdtrit(degrees, 0.975) - wide).argmin()])


def _remarks(rows: pd.DataFrame) -> Iterator[str]:
    """What is to be known of runs that were taken together: their steps, and draws that they share."""
    for (_, data), own in rows.groupby(["setting", "data"], sort=False, dropna=False):
        titled = own["titled"].iloc[0]
        if at := at_steps(zip(own["called"].astype(str), own["step"], strict=True)):
            yield f"{titled}, {data}: measured at different steps and taken together, {at}"
        one = own.drop_duplicates(["who", "seed"])
        shared = sorted(set(one["seed"][one.duplicated("seed", keep=False)]))
        if shared:
            seeds = ", ".join(map(str, shared))
            yield (
                f"{titled}, {data}: several runs were measured on the same draws (seed {seeds}), whose luck they share and "
                "which is added in full; measured with a seed of its own each ('snrkit snr --seed own', into another file "
                "of the run with --out) the interval is narrower"
            )
