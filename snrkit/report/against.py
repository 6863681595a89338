"""All else against a baseline: runs on the same test points, estimators on the same noise, over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snrkit.errors import SpecError
from snrkit.registry import hint
from snrkit.report.baseline import meant_setting
from snrkit.report.chosen import Chosen, listed
from snrkit.report.collect import Tables, collect, places_of
from snrkit.report.compared import ESTIMATORS, FOUND, RUNS, Compared, at_steps, columns
from snrkit.report.naming import names
from snrkit.report.on_noise import estimators
from snrkit.report.repetitions import last_evaluations
from snrkit.runs.paired import Pair, differences

_Side = Sequence["pd.Series[Any]"]
# Between a mean that was written down and that of the points.
_ROUNDING = 1e-6


def compare(
    paths: str | Path | Sequence[str | Path], baseline: str, *, labels: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """Paired differences of all else with a baseline, each with an interval and a verdict.

    Runs are compared on the same test points (``snrkit evaluate --keep-points`` keeps them; without them the points' luck
    does not cancel), those of the same seed with each other, each at its last evaluated step; estimators, or losses, on the
    same noise, by the logarithm of their pooled SNR, from the comparisons that ``snrkit snr`` writes. The intervals of all
    that is compared with the baseline in one metric hold together at 95 % (Bonferroni). Of one run on either side they
    speak of these two, of several of what these were trained with.

    Args:
        paths: run directories, folders that hold some, or result files.
        baseline: an estimator, a setting as the report calls it, a label, or a run.
        labels: run to what it is called; a run by its name, a pattern of names, or its folder.
        metrics: only these; none: all.

    Returns:
        A row for each comparison: ``what`` and ``baseline``; ``metric`` (of an evaluation, or ``log snr_pooled``), ``data``,
        and of estimators ``block``, ``M``, ``K`` and ``of``, the run; ``difference`` (``what`` minus ``baseline``),
        ``stderr``, ``ci_low``, ``ci_high``; ``verdict``: ``higher``, ``lower``, ``cannot tell`` or ``equal``; ``tellable``,
        the size of a true difference that would be told four times out of five; ``runs``, pairs of runs; ``points``, test
        points (0: not paired); ``together``, comparisons whose intervals hold together. What could not be compared, runs at
        different steps, and draws that several runs share, are in ``attrs["notes"]``.

    Raises:
        SpecError: there is no such baseline, run or metric, or no path.
        ResultsError: there is nothing there, or a file is damaged.
    """
    tables = collect(places_of(paths), Chosen.of(labels, metrics, baseline))
    tables.require_chosen()
    require_baseline(tables)
    found = [tables.once(runs), tables.once(estimators)]
    filled = [one.table for one in found if len(one.table)]
    present = list(dict.fromkeys([*RUNS, *ESTIMATORS, *FOUND]))
    table = pd.concat(filled, ignore_index=True).reindex(columns=present) if filled else pd.DataFrame(columns=present)
    table.attrs["notes"] = [note for one in found for note in one.notes]
    return table


def require_baseline(tables: Tables) -> None:
    """See to it that the baseline is there.

    Raises:
        SpecError: it is not, or several are meant.
    """
    found = [tables.once(runs), tables.once(estimators)]
    if not any(one.matched for one in found):
        known = list(dict.fromkeys(name for one in found for name in one.known))
        given = tables.chosen.baseline
        remedy = (
            f"{hint(given, known)}there are {listed(known)}" if known else "evaluate runs, or measure two estimators"
        )
        raise SpecError("baseline", f"nothing that can be compared is called '{given}'", remedy)


def runs(tables: Tables) -> Compared:
    """Settings against the baseline's on the same test points, wherever they were trained on the same data."""
    rows = tables["evaluations"]
    rows = last_evaluations(rows[np.isfinite(rows["value"].astype(float))]) if len(rows) else rows
    known, notes = dict.fromkeys(rows["titled"]) if len(rows) else {}, list[str]()
    points = _by_evaluation(tables["points"])
    found: list[dict[str, Any]] = []
    matched = False
    for _, group in rows.groupby(["trained_on", "data"], sort=False, dropna=False):
        keys = {str(setting): own.iloc[0] for setting, own in group.groupby("setting", sort=False)}
        base = meant_setting(tables.chosen.baseline, keys)
        if base is None:
            continue
        matched = True
        called = dict(zip(keys, names(list(keys.values()), ["M", "K", "model"]), strict=True))
        sides = {setting: _by_seed(own) for setting, own in group.groupby("setting", sort=False)}
        for metric in dict.fromkeys(group["metric"]):
            pairs = [
                _Pair(metric, called[other], called[base], sides[other], sides[base]) for other in keys if other != base
            ]
            made, left = _in_metric(pairs, points)
            notes += left
            found += [{"trained_on": group["trained_on"].iloc[0], "data": group["data"].iloc[0]} | row for row in made]
    return Compared(pd.DataFrame(found, columns=[*RUNS, *FOUND]), tuple(dict.fromkeys(notes)), tuple(known), matched)


@dataclass(frozen=True)
class _Pair:
    """Two settings to compare in a metric: seed to the evaluation of the run with it."""

    metric: str
    what: str
    baseline: str
    first: Mapping[Any, pd.DataFrame]
    second: Mapping[Any, pd.DataFrame]

    def rows(self) -> tuple[_Side, _Side, list[str]]:
        """The evaluations in the metric, those of the same seed beside each other, and what is to be known of them.

        Of single runs on both sides seeds may differ. Where one side was not evaluated in the metric there is nothing.
        """
        first, second = (
            {seed: rows.iloc[0] for seed, own in side.items() if len(rows := own[own["metric"] == self.metric])}
            for side in (self.first, self.second)
        )
        if not (first and second):
            return [], [], []
        lost: list[str] = []
        if len(first) > 1 or len(second) > 1:
            seeds = [seed for seed in first if seed in second]
            lost = sorted((first.keys() | second.keys()) - set(seeds))
            first, second = ({seed: side[seed] for seed in seeds} for side in (first, second))
            if not seeds:
                return [], [], ["no seeds in common, so not compared; train both with the same"]
        both = [*first.values(), *second.values()]
        samples = sorted({int(row["samples"]) for row in both})
        if len(samples) > 1:
            return [], [], [f"evaluated with {listed(map(str, samples))} samples, so not compared"]
        told = [f"without seeds that only one has, {listed(lost)}"] if lost else []
        if at := at_steps((str(row["called"]), int(row["step"])) for row in both):
            told.append(f"evaluated at different steps, {at}; the difference is also one of training")
        return list(first.values()), list(second.values()), told


def _by_seed(rows: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    return {str(seed): own for seed, own in rows.groupby("seed", sort=False, dropna=False)}


def _in_metric(pairs: Sequence[_Pair], points: Mapping[Any, pd.DataFrame]) -> tuple[list[dict[str, Any]], list[str]]:
    """The comparisons in one metric, whose intervals hold together; and what is left out of them."""
    sides = [(pair, *pair.rows()) for pair in pairs]
    notes = [f"{pair.what} and {pair.baseline}: {line}" for pair, _, _, told in sides for line in told]
    ready = [(pair, first, second) for pair, first, second, _ in sides if first]
    found = differences([_read(pair.metric, first, second, points) for pair, first, second in ready])
    rows = [
        {"what": pair.what, "baseline": pair.baseline, "metric": pair.metric} | columns(one)
        for (pair, _, _), one in zip(ready, found, strict=True)
    ]
    return rows, notes


def _read(metric: str, first: _Side, second: _Side, points: Mapping[Any, pd.DataFrame]) -> Pair:
    """Two sides in a metric: point by point where both are known so, else with the errors of both, as if apart."""
    one, two = (_points(side, metric, points) for side in (first, second))
    if one is not None and two is not None and one.columns.equals(two.columns):
        return Pair.of_points(one.to_numpy() - two.to_numpy())
    values, errors = (
        np.array([[row[name] for row in side] for side in (first, second)], dtype=float) for name in ("value", "stderr")
    )
    return Pair.of_values(values[0] - values[1], float(np.square(errors).sum(0).mean()))


def _points(side: _Side, metric: str, points: Mapping[Any, pd.DataFrame]) -> pd.DataFrame | None:
    """The metric of each run at each test point, ``[runs, points]``; None where one is not known at all points."""
    found = []
    for row in side:
        own = points.get((row["folder"], row["data"], row["step"]))
        if own is None or metric not in own or len(own) != row["points"]:
            return None
        values = own[metric].astype(float)
        if not (np.isfinite(values).all() and _is_mean(values, row)):
            return None
        found.append(values)
    return None if any(not one.index.equals(found[0].index) for one in found) else pd.DataFrame(found)


def _is_mean(values: "pd.Series[float]", row: "pd.Series[Any]") -> bool:
    """Whether an evaluation is the mean of these points: they may be left from another, or it may be no mean."""
    return bool(abs(values.mean() - row["value"]) <= _ROUNDING * max(abs(row["value"]), float(np.abs(values).mean())))


def _by_evaluation(points: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    """(folder, data, step) to its test points, by their numbers."""
    keys = ["folder", "data", "step"]
    return {
        key: own.drop_duplicates("point").set_index("point").sort_index()
        for key, own in (points.groupby(keys, sort=False) if len(points) else ())
    }
