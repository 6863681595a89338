"""Rows of a tidy table as lines: what belongs together, what tells lines apart, and how each looks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from snrkit.report import style

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


def styled(keys: Sequence["pd.Series[Any]"]) -> list[style.LineStyle]:
    """How the line of each row is drawn: its estimator and its run decide."""
    return style.assign([(key["estimator"], " ".join(str(key[f]) for f in ("source", "run", "step"))) for key in keys])


def solid(found: Sequence[Line]) -> list[Line]:
    """The lines with dashes free to mean something else; where a colour comes twice, shades tell all of them apart."""
    colours = [line.style.colour for line in found]
    if len(set(colours)) < len(colours):
        colours = style.shades(len(found))
    return [
        Line(line.label, style.LineStyle(colour, line.style.marker, style.SOLID), line.rows)
        for line, colour in zip(found, colours, strict=True)
    ]


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


def several(groups: Sequence[pd.DataFrame], axis: str) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """The groups with more than one value on an axis, and a line about the others; all of them where none has.

    A single reading shows a level only.
    """
    found = [group for group in groups if group[axis].nunique() > 1]
    over = len(groups) - len(found)
    if not found or not over:
        return list(groups), ()
    alone = "line of one reading is" if over == 1 else "lines of one reading each are"
    return found, (f"{over} {alone} not drawn beside those against {axis}",)


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


def measured_at(row: Any) -> str:
    """Run, step and data of a row of gradients; of a table in memory that names neither, that they were given."""
    if (row.called, row.data) == ("python", "given"):
        return f"as given{f' at step {row.step}' if row.step else ''}, {row.scope}"
    return f"{row.called}, step {row.step}: {row.data} ({row.scope})"
