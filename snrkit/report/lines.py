"""Rows of a tidy table as lines: what belongs together, what tells lines apart, and how each looks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.escape import visible

# What makes readings belong to one line of SNR against something.
KEY = ["source", "run", "step", "data", "scope", "estimator", "options", "seed", "method", "dtype"]
TWIN = [
    "line", "block", "run", "step", "data", "scope", "estimator", "options", "seed", "method", "dtype", "M", "K", "metric",
    "value", "ci_low", "ci_high", "floor", "draws",
]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line: its label, its looks and its rows."""

    label: str
    style: style.LineStyle
    rows: pd.DataFrame

    def handle(self, label: str = "") -> Line2D:
        """Its legend entry."""
        look = self.style
        return Line2D(
            [], [], color=look.colour, linestyle=look.dashes, marker=look.marker, label=label or self.label
        )  # fmt: skip


def lines(groups: Sequence[pd.DataFrame], fields: Sequence[str], always: Sequence[str] = ()) -> list[Line]:
    """A line for each group of rows, labelled by estimator and whatever else tells the groups apart.

    Args:
        groups: rows of each line.
        fields: columns that may tell lines apart, the most telling first.
        always: columns to name wherever they differ, even if nothing else is alike.
    """
    keys = [group.iloc[0] for group in groups]
    looks = style.assign([(key["estimator"], " ".join(str(key[f]) for f in ("source", "run", "step"))) for key in keys])
    found = zip(labels(keys, fields, always), looks, groups, strict=True)
    return [Line(label, look, group.assign(line=label)) for label, look, group in found]


def solid(found: Sequence[Line]) -> list[Line]:
    """The lines with dashes free to mean something else; where a colour comes twice, shades tell all of them apart."""
    colours = [line.style.colour for line in found]
    if len(set(colours)) < len(colours):
        colours = style.shades(len(found))
    return [
        Line(line.label, style.LineStyle(colour, line.style.marker, style.SOLID), line.rows)
        for line, colour in zip(found, colours, strict=True)
    ]


def labels(keys: Sequence["pd.Series[Any]"], fields: Sequence[str], always: Sequence[str] = ()) -> list[str]:
    """Estimators' names, with the run where there are several, and the further fields that are needed.

    Of runs taken together over seeds their number is enough, unless it leaves two lines alike.
    """
    short = [
        key | ({"run": f"{key['together']} seeds"} if key.get("together", 1) > 1 else {}) for key in map(dict, keys)
    ]
    found = _labels(short, fields, always)
    return found if len(set(found)) == len(found) else _labels(list(map(dict, keys)), fields, always)


def _labels(keys: Sequence[dict[Any, Any]], fields: Sequence[str], always: Sequence[str]) -> list[str]:
    found = [style.estimator_label(str(key["estimator"]), str(key["options"])) for key in keys]
    for field in ("run", *always):
        if field in (*fields, *always) and len({key[field] for key in keys}) > 1:
            found = [f"{label}, {_shown(field, key[field])}" for label, key in zip(found, keys, strict=True)]
    for field in fields:
        values: dict[str, set[str]] = {}
        for label, key in zip(found, keys, strict=True):
            values.setdefault(label, set()).add(str(key[field]))
        found = [
            f"{label}, {_shown(field, key[field])}" if len(values[label]) > 1 else label
            for label, key in zip(found, keys, strict=True)
        ]
    return found


def _shown(field: str, value: object) -> str:
    if field == "run":
        return visible(str(value))
    if field == "step":
        return f"{value} steps"
    name = field.replace("_", " ")
    return f"{name} = {value}" if field in ("M", "K") else f"{name} {visible(str(value))}"


def latest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last measured step."""
    return rows[rows["step"] == rows.groupby(["source", "run"])["step"].transform("max")]


def usable(rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows with a positive finite value, and a line about the others."""
    good = np.isfinite(rows["value"].astype(float)) & (rows["value"] > 0)
    lost = int((~good).sum())
    return rows[good], (f"{lost} of {len(rows)} readings are NaN or not positive and not drawn",) if lost else ()


def comparable(groups: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """Of each group the rows with the number of draws that most have, and a line about the others.

    Readings of as many draws have one floor and one error.
    """
    found = [group[group["draws"] == int(group["draws"].mode().max())] for group in groups if len(group)]
    lost = sum(map(len, groups)) - sum(map(len, found))
    note = f"{lost} readings rest on another number of draws than most of their line and are not drawn"
    return found, (note,) if lost else ()


def several(groups: Sequence[pd.DataFrame], axis: str) -> list[pd.DataFrame]:
    """The groups with more than one value on an axis; all of them where none has (a single reading shows a level only)."""
    return [group for group in groups if group[axis].nunique() > 1] or list(groups)


def fewest(groups: Sequence[pd.DataFrame]) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """As many groups as a figure can show, of each estimator before more of any, and a line about the others."""
    over = len(groups) - style.MOST_LINES
    note = f"{over} more lines than the {style.MOST_LINES} that can be told apart are left out; name fewer runs"
    names = [str(group["estimator"].iloc[0]) for group in groups]
    turns = [names[:place].count(name) for place, name in enumerate(names)]
    first = sorted(range(len(groups)), key=lambda place: turns[place])[: style.MOST_LINES]
    return [groups[place] for place in sorted(first)], (note,) if over > 0 else ()


def trend(line: Line, axis: str, value: str = "value") -> str:
    """How a line runs, in words, for readers who cannot see it."""
    rows = line.rows.sort_values(axis)
    first, last = rows.iloc[0], rows.iloc[-1]
    if len(rows) == 1:
        return f"{line.label}: {first[value]:.3g} at {axis} {first[axis]:g}"
    return f"{line.label}: from {first[value]:.3g} at {axis} {first[axis]:g} to {last[value]:.3g} at {last[axis]:g}"


def joined(values: Iterable[Any]) -> str:
    """Different values as text, e.g. ``1, 10, 100``."""
    return ", ".join(dict.fromkeys(str(value) for value in values))
