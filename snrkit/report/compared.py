"""What a comparison with a baseline is, of runs and of estimators alike."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from snrkit.report.chosen import listed
from snrkit.runs.paired import Difference

# What a comparison of runs is of, and one of estimators.
RUNS = ["what", "baseline", "trained_on", "data", "metric"]
ESTIMATORS = ["what", "baseline", "of", "data", "block", "M", "K", "direct"]
FOUND = ["difference", "stderr", "ci_low", "ci_high", "verdict", "tellable", "runs", "points", "together"]


@dataclass(frozen=True)
class Compared:
    """Comparisons with a baseline.

    Attributes:
        table: one row each: ``difference`` of ``what`` minus ``baseline``, ``stderr``, ``ci_low``, ``ci_high``, ``verdict``,
            ``tellable``, ``runs``, ``points``, and ``together``, with how many others its interval holds.
        notes: what could not be compared and why, and what is to be known of what was, a line each.
        known: what may be named as a baseline.
        matched: whether the baseline was among it.
    """

    table: pd.DataFrame
    notes: tuple[str, ...]
    known: tuple[str, ...]
    matched: bool


def columns(found: Difference) -> dict[str, Any]:
    """The columns of a difference."""
    parts = asdict(found)
    return {"difference": parts.pop("value"), "ci_low": parts.pop("low"), "ci_high": parts.pop("high"), **parts}


def at_steps(places: Iterable[tuple[str, int]]) -> str:
    """Runs at their steps, where these are not all the same; empty where they are: ``IWAE, seed 0 at step 400, ...``.

    Args:
        places: what each run is called, and its step.
    """
    found = list(dict.fromkeys(places))
    if len({step for _, step in found}) < 2:
        return ""
    return listed(f"{called} at step {step}" for called, step in found)
