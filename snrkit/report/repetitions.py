"""Runs that differ only in their seed, taken together: the spread over seeds is the honest error of a training result."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
from scipy.stats import t as student_t

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
    reach = error * (float(student_t.ppf(0.975, runs - 1)) if runs > 1 else 1.959964)
    return Estimate(mean, error, mean - reach, mean + reach, runs)


def common_name(runs: Iterable[str]) -> str:
    """A run's name, or what the names of several seeds have in common and their number."""
    names = sorted(set(runs))
    if len(names) == 1:
        return names[0]
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    common = "".join(letters[0] for letters in alike).rstrip("-_0123456789").removesuffix("seed").rstrip("-_")
    return f"{common or names[0]} ({len(names)} seeds)"


def own_data(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The evaluations on data like those trained on; of a run without any, those on its first data."""
    own = evaluations["data"].astype(str).str.split(":").str[0] == evaluations["trained_on"]
    none = ~own.groupby(evaluations["folder"]).transform("any")
    first = evaluations["data"] == evaluations.groupby("folder")["data"].transform("first")
    return evaluations[own | (none & first)]


def last_evaluations(evaluations: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of each run's last evaluated step, by metric and data."""
    last = evaluations.groupby(["folder", "data", "metric"])["step"].transform("max")
    return evaluations[evaluations["step"] == last].drop_duplicates(["folder", "data", "metric"], keep="last")


def settings(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """One row per setting and ``by``, with value, stderr, ci_low, ci_high and runs over the seeds."""
    rows = []
    for _, group in table.groupby([*SETTING, *by], sort=False, dropna=False):
        found = estimate(group["value"].astype(float), group["stderr"].astype(float))
        rows.append(
            group.iloc[0].to_dict()
            | {
                "value": found.value,
                "stderr": found.error,
                "ci_low": found.low,
                "ci_high": found.high,
                "runs": found.runs,
                "run": common_name(group["run"]),
            }
        )
    return pd.DataFrame(rows, columns=[*table.columns, *(c for c in ("ci_low", "ci_high", "runs") if c not in table)])
