"""The report's table of gradients: every metric that is for people, in both networks; one that is added comes by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from snrkit.report.blocks import NETWORKS, told
from snrkit.report.collect import Tables
from snrkit.report.compared import at_steps
from snrkit.report.drawing import Missing, Sheet
from snrkit.report.lines import KEY, joined, latest
from snrkit.report.naming import alike, alike_note
from snrkit.report.repetitions import readings_over_seeds
from snrkit.report.style import estimator_label
from snrkit.report.tables import Cell, Column, rounded, sheet
from snrkit.runs.metrics import METRICS, Metric, describe

# Columns that tell rows of one run apart where it was measured in several ways.
_APART = ("step", "data", "scope", "seed", "method", "dtype")
# Metrics by which gradients are the same; the second tells a gradient from a multiple of it.
_SAME = ("snr_mean", "variance")
_ROW = [*KEY, "M", "K", "block"]
_ALIKE = [name for name in _ROW if name not in ("estimator", "options")] + ["draws"]


def gradients(tables: Tables) -> Sheet | Missing:
    """Settings and networks against metrics, at each one's last step: value ± error, and what noise would read."""
    shown = {name: metric for name in METRICS.names if (metric := describe(name)).shown}
    readings = tables["snr"]
    wanted = told(readings[readings["metric"].isin([*shown, *_SAME])])
    rows = readings_over_seeds(_at_least_m(latest(wanted[np.isfinite(wanted["value"].astype(float))])))
    present = {name: metric for name, metric in shown.items() if (rows["metric"] == name).any()}
    if not present:
        return Missing("no measured gradients found: run 'snrkit snr --ckpt CHECKPOINT'")
    floors = [name for name in present if (rows["floor"][rows["metric"] == name] > 0).any()]
    columns = [
        Column("run", "run", printed=False), Column("of", "run", printed=rows["called"].nunique() > 1),
        Column("estimator", "estimator"),
        Column("network", "network" if rows["block"].isin(NETWORKS).all() else "network or group"), Column("M", "M"),
        Column("K", "K"), Column("draws", "draws"),
    ]  # fmt: skip
    apart = _apart(rows)
    columns += [Column(name, "seeds" if name == "runs" else name) for name in apart]
    for name, metric in present.items():
        columns += [Column(name, metric.title, numbers=True)]
        columns += [Column(f"{name}_floor", "floor")] if name in floors else []
    parts = [group for _, group in rows.groupby(_ROW, sort=False, dropna=False) if group["metric"].isin(present).any()]
    groups = _once(_ascending(parts))
    cells = [_cells(group, apart, present, floors) for group in groups]
    return sheet(
        columns,
        cells,
        "Gradients of the last measured step",
        _notes(rows, present, [group["estimators"].iloc[0] for group in groups]),
    )


def _apart(rows: pd.DataFrame) -> list[str]:
    """Columns without which rows would not be told apart; and of how many runs each is, if of several."""
    each = rows.groupby("called", dropna=False)
    return [
        *(["runs"] if (rows["runs"] > 1).any() else []),
        *(name for name in _APART if each[name].nunique().max() > 1),
    ]


def _at_least_m(rows: pd.DataFrame) -> pd.DataFrame:
    """Without what follows from other rows by algebra: larger M of draws of units."""
    least = rows.groupby([*KEY, "K"], dropna=False)["M"].transform("min")
    return rows[rows["direct"].astype(bool) | (rows["M"] == least)]


def _ascending(groups: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """The rows of each setting by M and K, in whatever order they were measured, in the places that the setting had."""
    places: dict[tuple[str, ...], list[int]] = {}
    for place, group in enumerate(groups):
        places.setdefault(tuple(str(group.iloc[0][name]) for name in KEY), []).append(place)
    found = list(groups)
    for own in places.values():
        ordered = sorted((groups[place] for place in own), key=lambda group: tuple(group.iloc[0][["M", "K"]]))
        for place, group in zip(own, ordered, strict=True):
            found[place] = group
    return found


def _once(groups: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """One group for all estimators with the same gradient: their readings of the same noise are the same to the last bit.

    Such are, of the generative network, all estimators of one bound. What only some of them have a reading of (a bias, which
    is none to its own bound) is kept.
    """
    found: dict[tuple[object, ...], list[pd.DataFrame]] = {}
    for group in groups:
        first, own = group.iloc[0], _by_metric(group.drop_duplicates("metric"))
        known = tuple(map(str, own[["value", "stderr"]].reindex(list(_SAME)).to_numpy().ravel()))
        read = known if _SAME[0] in own.index else (id(group),)
        found.setdefault((*(str(first[name]) for name in _ALIKE), *read), []).append(group)
    return [_as_one(own) for own in found.values()]


def _by_metric(group: pd.DataFrame) -> pd.DataFrame:
    """Its numbers alone: an index of so wide a table costs more than all else that is done with it."""
    return group[["metric", "value", "stderr", "floor"]].set_index("metric")


def _as_one(groups: Sequence[pd.DataFrame]) -> pd.DataFrame:
    labels = dict.fromkeys(estimator_label(own["estimator"].iloc[0], own["options"].iloc[0]) for own in groups)
    whole = pd.concat(groups, ignore_index=True).drop_duplicates("metric")
    texts: Any = [tuple(labels)] * len(whole)
    return whole.assign(estimators=texts)


def _cells(
    group: pd.DataFrame, apart: Sequence[str], present: Mapping[str, Metric], floors: Sequence[str]
) -> list[Cell]:
    first, own = group.iloc[0], _by_metric(group.drop_duplicates("metric", keep="last"))
    names = (
        first["run"],
        first["called"],
        alike(first["estimators"]),
        first["block"],
        first["M"],
        first["K"],
    )
    cells = [Cell(str(text)) for text in (*names, first["draws"], *(first[name] for name in apart))]
    for name in present:
        known = name in own.index
        cells.append(Cell(*rounded(float(own["value"][name]), float(own["stderr"][name]))) if known else Cell(""))
        if name in floors:
            cells.append(Cell(rounded(float(own["floor"][name]), np.nan)[0] if known else ""))
    return cells


def _notes(rows: pd.DataFrame, present: Mapping[str, Metric], sets: Sequence[Sequence[str]]) -> list[str]:
    notes = ["Value ± standard error over blocks of draws; floor: what pure noise would read with as many"]
    if (rows["runs"] > 1).any():
        notes.append(
            "Of several seeds the mean; its error is that of the spread between runs, with what they share where they were "
            "measured on the same draws"
        )
    notes += [*_at_steps(rows), *alike_note(sets)]
    notes += [f"{metric.title}: {metric.definition}" for metric in present.values()]
    targets = [target for target in rows["target"].astype(str).unique() if target]
    notes += [f"Target of the bias: {joined(targets)}"] if targets else []
    return [*notes, f"Gradients of {joined(rows['data'].unique())}; of units, at the smallest M measured"]


def _at_steps(rows: pd.DataFrame) -> list[str]:
    """A line about each setting of which runs stand apart because they were measured at different steps."""
    if "called" not in rows:
        return []
    found = [
        at_steps(zip(own["called"], own["step"], strict=True)) for _, own in rows.groupby("setting", sort=False)
        if own["called"].nunique() > 1
    ]  # fmt: skip
    return [f"Not taken together, since measured at different steps: {at}" for at in dict.fromkeys(found) if at]
