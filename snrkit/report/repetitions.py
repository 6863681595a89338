"""Runs that differ only in their seed, taken together: the spread over seeds is the honest error of a training result.

Runs that were measured on the same draws of the noise share a part of that error, which does not show in their spread: of
networks near one optimum about two thirds of the variance (tests/report/test_shared_noise.py). How much is not known from
the readings, so all of it is added; draws of their own (``--seed own``) make it a part of the spread.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import stdtrit

from snrkit.errors import SpecError
from snrkit.report.compared import at_steps
from snrkit.report.naming import plain

# What a setting is, apart from the seed.
SETTING = ["setting", "trained_on", "model", "estimator", "options", "M", "K"]


@dataclass(frozen=True)
class Estimate:
    """A value over repetitions.

    Attributes:
        value: mean over runs.
        error: standard error: over runs where there are several, else the run's own (over test points).
        low: lower end of the 95 % interval.
        high: its upper end.
        runs: number of runs.
    """

    value: float
    error: float
    low: float
    high: float
    runs: int


def estimate(values: "pd.Series[float]", errors: "pd.Series[float]") -> Estimate:
    """Mean over runs with its error.

    Args:
        values: one per run.
        errors: standard error of each, over test points.
    """
    runs, mean = len(values), float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(runs) if runs > 1 else float(errors.iloc[0])
    reach = error * (float(stdtrit(runs - 1, 0.975)) if runs > 1 else 1.959964)
    return Estimate(mean, error, mean - reach, mean + reach, runs)


def common_name(runs: Iterable[str], whose: Iterable[object] = ()) -> str:
    """A run's name, or what the names of several seeds have in common and their number.

    Args:
        runs: the names.
        whose: what is the same for all rows of one run, whatever its name; none: the name is.
    """
    own = set(runs)
    names = sorted({plain(run) for run in own} if len(own) > 1 else own)
    count = len(set(whose)) or len(own)
    if count == 1:
        return names[0]
    if len(names) == 1:
        return f"{names[0]} ({count} seeds)"
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("-_0123456789").removesuffix("seed").rstrip("-_")
    return f"{common or names[0]} ({count} seeds)"


def whose(table: pd.DataFrame) -> "pd.Series[Any]":
    """What is the same for all rows of one run: seeds are counted by it, since folders may be copies or share a name."""
    return table["who"] if "who" in table else table["run"]


def as_one(table: pd.DataFrame) -> dict[str, Any]:
    """The columns of a row that stands for several runs: ``run``, their ``common_name``, ``together``, how many, ``called``.

    Raises:
        SpecError: the user gave them different names.
    """
    together = len(set(whose(table)))
    one = {"run": common_name(table["run"], whose(table)), "together": together}
    if "named" not in table:
        return one
    if table["named"].nunique() > 1:
        first, second = list(dict.fromkeys(table["called"]))[:2]
        problem = f"'{first}' and '{second}' are seeds of one setting, which is shown as one"
        raise SpecError("label", problem, "give all its runs the same name")
    return one | {"called": table["titled" if together > 1 else "called"].iloc[0]}


def owners(table: pd.DataFrame, by: Sequence[str]) -> "pd.Series[str]":
    """Whose each row is: its run's setting; where one of its runs has several readings of one thing, every run's own alone.

    Args:
        table: rows with ``setting``, ``run``, ``source`` and ``seed``.
        by: columns that say what was read.
    """
    what = [table[name] for name in by]
    run = whose(table).rename("who")
    several = table.groupby(["setting", run, *by], dropna=False)["source"].transform("size") > 1
    # Wherever else on its line, too: a mean at some K between runs at others would be no line.
    line = [column for column in what if column.name not in _ALONG]
    alone = several.groupby([table["setting"], *line], dropna=False).transform("any")
    own = table["source"] + " " + table["run"].astype(str) + " " + table["seed"].astype(str)
    return table["setting"].where(~alone, own).rename("owner")


def shared_noise(whose: "pd.Series[Any]", seeds: "pd.Series[Any]") -> float:
    """The most that a mean over runs has of the variance of one reading, from draws that several runs share.

    Each run counts as the mean over its own readings, and each draw with the sum of its weights, squared: 1 where all runs
    were measured on one and the same draw, 1/n where all were on the same n, 0 where no two share any.

    Args:
        whose: run of each reading.
        seeds: of the draws behind it.
    """
    pairs = pd.DataFrame({"who": whose, "seed": seeds}).drop_duplicates()
    each = pairs.groupby("who", dropna=False)["seed"].transform("size")
    weights = (1 / each / pairs["who"].nunique()).groupby(pairs["seed"], dropna=False)
    return float(np.square(weights.sum()[weights.size() > 1]).sum())


# Along a line, or beside it.
_ALONG = ("step", "M", "K", "block", "metric", "target", "draws", "axis", "fixed", "over", "point")
# What a reading is of, apart from whose.
_READ = [
    "step", "data", "scope", "estimator", "options", "method", "mode", "target", "dtype", "M", "K", "block", "metric",
    "draws",
]  # fmt: skip
_FITTED = ["step", "data", "estimator", "options", "method", "block", "axis", "fixed", "over"]


def readings_over_seeds(readings: pd.DataFrame) -> pd.DataFrame:
    """Readings of runs that differ in their seed alone as one: the mean, and the reach of all their intervals.

    So an interval holds both the draws' noise and the spread between runs; Student's t of two or three seeds would be wider
    than a figure. ``stderr`` is that of the mean over runs. Columns as before, and ``runs``.

    Args:
        readings: rows of the tidy table, with ``setting`` and ``source``.
    """
    return _over_seeds(readings, _READ, "value")


def slopes_over_seeds(slopes: pd.DataFrame) -> pd.DataFrame:
    """The same of fitted slopes."""
    return _over_seeds(slopes, _FITTED, "slope")


# Of ``as_one``, what tables have already.
_OF_ONE = ("run", "called")


def _over_seeds(table: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    if table.empty:
        return table.assign(runs=1)
    table = table.reset_index(drop=True)
    owner = owners(table, by)
    groups = table.groupby([owner, *(table[name] for name in by)], sort=False, dropna=False, observed=True)
    place = groups.ngroup()
    runs = whose(table).groupby(place).transform("nunique")
    error = _error(table, value, place, runs).where(runs > 1, table["stderr"].astype(float))
    low, high = groups["ci_low"].transform("min"), groups["ci_high"].transform("max")
    found = table.assign(
        **{value: groups[value].transform("mean"), "stderr": error, "ci_low": low, "ci_high": high, "runs": runs},
        together=runs,
        **_of_line(table, place, [owner, *(table[name] for name in by if name not in _ALONG)]),
    )
    return found[~place.duplicated(keep="last")].reset_index(drop=True)


def _error(table: pd.DataFrame, value: str, place: "pd.Series[int]", runs: "pd.Series[int]") -> "pd.Series[float]":
    """Standard error of the mean over runs: the spread between them, and what they have of the same draws.

    For no less than the draws' own luck: few runs may happen to lie close together.
    """
    spread = table[value].astype(float).groupby(place).transform("var") / runs
    own = (table["stderr"].astype(float) ** 2).groupby(place).transform("mean")
    alike = table.groupby([place.rename("place"), table["seed"]], dropna=False)[value].transform("size")
    share = alike.where(alike > 1, 0).groupby(place).transform("sum") / runs**2
    found = spread + (share * own).where(share > 0, 0.0)
    return pd.Series(np.sqrt(np.fmax(found, own / runs)), table.index).mask(found.isna())


def _of_line(
    table: pd.DataFrame, place: "pd.Series[int]", by: Sequence["pd.Series[Any]"]
) -> "dict[str, pd.Series[Any]]":
    """What is the same along a line, of which some runs may have more than others: its name, and where its runs lie.

    Args:
        table: readings.
        place: number of what each is of; those of one place are taken together.
        by: what a line is of; its places have runs in common, one with the next.
    """
    member = table.groupby([*by, whose(table).rename("whose")], sort=False, dropna=False, observed=True).ngroup()
    places, size = int(place.max()) + 1, len(table)
    edges = (np.ones(size), (place.to_numpy(), places + member.to_numpy()))
    _, labels = connected_components(coo_array(edges, shape=(places + size, places + size)), directed=False)
    line = pd.Series(labels[place.to_numpy()], table.index)
    names = [name for name in (*_OF_ONE, "source", "seed") if name in table]
    ones = {key: own[names].iloc[-1].to_dict() | as_one(own) for key, own in table.groupby(line, sort=False)}
    return {name: line.map({key: one[name] for key, one in ones.items()}) for name in names}


def uneven(lines: Iterable[pd.DataFrame]) -> tuple[str, ...]:
    """A line of text where a mean is not over all the runs of its line.

    Args:
        lines: rows of each line, with ``runs`` and ``line``.
    """
    short = [rows for rows in lines if rows["runs"].nunique() > 1]
    if not short:
        return ()
    most = ", ".join(f"{rows['line'].iloc[0]} ({rows['runs'].min()} to {rows['runs'].max()})" for rows in short)
    return (f"not every seed was measured everywhere, and a mean is over those that were: {most}",)


def seeds_caption(rows: pd.DataFrame) -> str:
    """What an interval is where runs were taken together, to go on with in a caption; empty where none were."""
    most = int(rows["runs"].max())
    if most == 1:
        return ""
    return (
        f"; where a setting was trained with several seeds (up to {most}), the mean over them is drawn, with a band from "
        "the lowest to the highest end of their intervals"
    )


def own_data(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The evaluations on data like those trained on; of a run without any, those on its first data."""
    own = evaluations["data_name"] == evaluations["trained_on"]
    none = ~own.groupby(evaluations["folder"]).transform("any")
    first = evaluations["data"] == evaluations.groupby("folder")["data"].transform("first")
    return evaluations[own | (none & first)]


def last_evaluations(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of each run's last evaluated step, by metric and data."""
    last = evaluations.groupby(["folder", "data", "metric"])["step"].transform("max")
    return evaluations[evaluations["step"] == last].drop_duplicates(["folder", "data", "metric"], keep="last")


def by_samples(table: pd.DataFrame) -> pd.DataFrame:
    """Evaluations of one setting on the same data with other numbers of samples as of other settings.

    A bound of more samples is another quantity, and no mean is taken over both.
    """
    alike = table.groupby(["setting", "data"], dropna=False)["samples"].transform("nunique") < 2
    text = "evaluation.samples=" + table["samples"].astype(str)
    rest = table["rest"].where(table["rest"] == "", table["rest"] + "; ") + text
    setting = table["setting"].where(alike, table["setting"] + " " + text)
    return table.assign(setting=setting, rest=table["rest"].where(alike, rest))


def settings(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per setting (see ``by_samples``) and ``by``, with value, stderr, ci_low, ci_high and runs over the seeds.

    ``steps`` has them where they are not the same for all.
    """
    rows = []
    for _, group in by_samples(table).groupby([*SETTING, *by], sort=False, dropna=False):
        found = estimate(group["value"].astype(float), group["stderr"].astype(float))
        rows.append(
            group.iloc[0].to_dict()
            | {
                "value": found.value,
                "stderr": found.error,
                "ci_low": found.low,
                "ci_high": found.high,
                "runs": found.runs,
                "steps": at_steps(zip(group["called" if "called" in group else "run"], group["step"], strict=True)),
            }
            | as_one(group)
        )
    more = [column for column in ("ci_low", "ci_high", "runs", "steps", "together") if column not in table]
    return pd.DataFrame(rows, columns=[*table.columns, *more])


def steps_notes(rows: pd.DataFrame) -> tuple[str, ...]:
    """A line for each setting whose runs were evaluated at different steps, and taken together.

    Args:
        rows: of ``settings``.
    """
    told = rows[rows["steps"] != ""].drop_duplicates(["setting", "data"])
    return tuple(f"taken together at different steps: {steps}" for steps in told["steps"])
