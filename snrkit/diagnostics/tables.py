"""From readings to tables: the tidy one, slopes with verdicts, paired comparisons, kept draws."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from snrkit.core.objective import Network
from snrkit.diagnostics.gather import Drawn
from snrkit.diagnostics.intervals import Interval, jackknife_stderr, student
from snrkit.diagnostics.metrics.base import Reading
from snrkit.diagnostics.plan import Job, Plan
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.slopes import MINIMUM_POINTS, Slope, judge
from snrkit.estimators.base import Estimator
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.draws import DRAWS
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.tidy import TidyTable
from snrkit.types import Array

_STRENGTH = "snr_pooled_squared"


@dataclass(frozen=True)
class Provenance:
    """Where the parameters and the data of a measurement come from, for the tables.

    Attributes:
        run: name of the run.
        step: optimiser steps done.
        data: which data points.
    """

    run: str = "python"
    step: int = 0
    data: str = "given"


@dataclass(frozen=True)
class Source:
    """What the tables are made from."""

    plan: Plan
    layout: Layout
    drawn: dict[Job, Drawn]
    provenance: Provenance
    parameters: str
    device: str
    dtype: str
    threads: int = 0

    @property
    def labels(self) -> dict[str, Any]:
        """Columns that are the same everywhere."""
        return {
            "run": self.provenance.run, "step": self.provenance.step, "data": self.provenance.data,
            "seed": self.plan.seed, "method": self.plan.method, "direct": self.plan.direct, "nested": self.plan.nested,
            "mean_from": self.plan.mean_from or "", "separate": self.plan.samples == "separate",
            "mode": self.plan.mode,
        }  # fmt: skip

    def at(self, estimator: Estimator, M: int, K: int) -> Iterator[tuple[Reading, Drawn]]:
        """The readings at (M, K), each from the draws of its own network's units; none where those were not made."""
        units = self.plan.units(estimator, M, K)
        jobs = self.plan.jobs(estimator, M, K)
        owners: list[Network | None] = ["inference", "generative"]
        sources = list(zip(owners, jobs, units, strict=True))
        if units[0] == units[1] and jobs[0] == jobs[1]:
            sources.append((None, jobs[0], units[0]))
        for network, job, unit in sources:
            drawn = self.drawn.get(job)
            if drawn is not None:
                own = [r for r in drawn.readings if self.layout.network_of(r.block) == network]
                yield from ((r.of_average(unit.count), drawn) for r in own)
                per_count = drawn.per_count.get(unit.count, [])
                yield from ((r, drawn) for r in per_count if self.layout.network_of(r.block) == network)

    def replicates(self, estimator: Estimator, M: int, K: int, metric: str) -> dict[str, Reading]:
        """Block to the reading of one metric at (M, K)."""
        return {r.block: r for r, _ in self.at(estimator, M, K) if r.metric == metric and r.scope == "minibatch"}


def readings(source: Source) -> pd.DataFrame:
    """The tidy table of ``snrkit.runs.kinds.snr``."""
    plan = source.plan
    constant = source.labels | {
        "parameters": source.parameters, "device": source.device, "dtype": source.dtype,
        "threads": source.threads,
    }  # fmt: skip
    rows = []
    for estimator, M, K in plan.grid:
        for reading, drawn in source.at(estimator, M, K):
            rows.append(
                constant | {
                    "scope": reading.scope, "estimator": estimator.name, "options": estimator.describe(), "M": M, "K": K,
                    "block": reading.block, "metric": reading.metric, "value": reading.interval.value,
                    "stderr": reading.interval.stderr, "ci_low": reading.interval.low, "ci_high": reading.interval.high,
                    "floor": reading.floor, "draws": drawn.draws, "n_coordinates": reading.n_coordinates,
                    "n_dropped": reading.n_dropped, "definition": reading.definition, "complete": drawn.complete,
                    "engine": _engines(source.layout, drawn.serving, reading.block),
                    "seconds": drawn.seconds, "pulled": reading.pulled, "target": reading.target,
                }
            )  # fmt: skip
    return TidyTable(rows, columns=list(SNR.columns))


def _engines(layout: Layout, serving: dict[str, str], block: str) -> str:
    """The engines that served the parameters of a block, e.g. ``factors+vmap``."""
    inside = layout.blocks[block]
    members = [name for name in layout.names if inside.start <= layout.blocks[name].start < inside.stop]
    return "+".join(sorted({serving[name] for name in members}))


def slopes(source: Source) -> pd.DataFrame:
    """Slopes of log snr_pooled against K (at each M), and against M (at each K) where M was drawn directly."""
    plan = source.plan
    rows = []
    for estimator in plan.estimators:
        label = source.labels | {"estimator": estimator.name, "options": estimator.describe()}
        for M in plan.M:
            found = _slopes(source, estimator, "K", [(M, K) for K in sorted(plan.K)])
            rows += [label | {"axis": "K", "fixed": M} | row for row in found]
        # By algebra the slope against M is exactly 1/2, which would say nothing.
        for K in plan.K if plan.direct else ():
            found = _slopes(source, estimator, "M", [(M, K) for M in sorted(plan.M)])
            rows += [label | {"axis": "M", "fixed": K} | row for row in found]
    return pd.DataFrame(rows, columns=list(SLOPES.columns))


def _slopes(source: Source, estimator: Estimator, axis: str, points: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    samples = [K if axis == "K" else M for M, K in points]
    if len(samples) < MINIMUM_POINTS:
        return
    found = [source.replicates(estimator, M, K, _STRENGTH) for M, K in points]
    # The rate in M is exact at any M; that in K is the first term of an expansion.
    expansion = _expansion(source, estimator, *points[0]) if axis == "K" else 0.0
    for block in found[0]:
        if any(block not in at for at in found):
            continue
        rate = _rate(source, estimator, block, axis)
        if rate is None:
            continue
        squares = np.array([at[block].interval.value for at in found])
        replicates = [at[block].replicates for at in found]
        if len({len(r) for r in replicates}) > 1:
            continue  # an interrupted measurement: blocks of draws do not match
        weights = _weights(np.array(samples, dtype=float), rate, source.plan.nested)
        slope = judge(samples, squares, np.stack(replicates, axis=1), rate, expansion, weights)
        yield {"block": block, "over": ",".join(map(str, samples))} | _slope_columns(slope)


def _slope_columns(slope: Slope) -> dict[str, Any]:
    return {
        "slope": slope.interval.value, "stderr": slope.interval.stderr, "ci_low": slope.interval.low,
        "ci_high": slope.interval.high, "expected": slope.expected, "verdict": slope.verdict, "reason": slope.reason,
    }  # fmt: skip


def _rate(source: Source, estimator: Estimator, block: str, axis: str) -> float | None:
    """Theory's exponent for a block; None where the networks of ``all`` differ."""
    theory, position = estimator.theory, 1 if axis == "K" else 0
    rates: dict[Network | None, float] = {"inference": theory.phi[position], "generative": theory.theta[position]}
    network = source.layout.network_of(block)
    if network is None:
        return rates["inference"] if rates["inference"] == rates["generative"] else None
    return rates[network]


def _weights(samples: Array, rate: float, nested: bool) -> Array:
    """Fixed weights: with K there are fewer draws if nested (1/K), else a falling SNR makes log SNR noisier (SNR^2)."""
    weights: Array = samples**-1.0 if nested else samples ** min(0.0, 2 * rate)
    return weights


def _expansion(source: Source, estimator: Estimator, M: int, K: int) -> float:
    """Var[w]/(K Z^2) = (K/ESS - 1)/K, from the ESS at the largest K measured, where it is known best."""
    largest = max(source.plan.K)
    ess = source.replicates(estimator, M, largest, "ess")
    if "all" not in ess:
        return 0.0
    return (largest / ess["all"].interval.value - 1) / K


def comparisons(source: Source) -> pd.DataFrame:
    """Differences of log snr_pooled between every two estimators, on the same noise."""
    rows = []
    for K, M in itertools.product(source.plan.K, source.plan.M):
        for first, second in itertools.combinations(source.plan.estimators, 2):
            one, two = (source.replicates(e, M, K, _STRENGTH) for e in (first, second))
            for block in one.keys() & two.keys():
                if len(one[block].replicates) != len(two[block].replicates):
                    continue
                interval = log_ratio(one[block], two[block])
                rows.append(
                    source.labels | {
                        "M": M, "K": K, "block": block, "first": title(first), "second": title(second),
                        "log_ratio": interval.value, "stderr": interval.stderr, "ci_low": interval.low,
                        "ci_high": interval.high, "verdict": verdict(interval, title(first), title(second)),
                    }
                )  # fmt: skip
    table = pd.DataFrame(rows, columns=list(COMPARISONS.columns))
    order = list(source.layout.blocks)
    return table.sort_values(
        ["K", "M", "block"],
        key=lambda c: c.map(order.index) if c.name == "block" else c,
        kind="stable",
        ignore_index=True,
    )


def log_ratio(one: Reading, two: Reading) -> Interval:
    """Log snr_pooled of one reading minus that of another, from paired replicates; NaN where a square is not positive."""
    log: Callable[[Any], Any] = np.log
    if min(one.interval.value, two.interval.value, one.replicates.min(), two.replicates.min()) <= 0:
        return Interval(math.nan, math.nan, math.nan, math.nan)
    value = 0.5 * float(log(one.interval.value) - log(two.interval.value))
    return student(
        value, float(jackknife_stderr(0.5 * (log(one.replicates) - log(two.replicates)))), len(one.replicates)
    )


def verdict(interval: Interval, first: str, second: str) -> str:
    """Which of two is larger, in words."""
    if interval.low > 0:
        return f"{first} is larger"
    if interval.value == 0 and interval.stderr == 0:
        return "the same gradient"
    return f"{second} is larger" if interval.high < 0 else "cannot tell, more draws needed"


def title(estimator: Estimator) -> str:
    """Name and hyperparameters, e.g. ``ciwae (beta=0.5)``."""
    options = estimator.describe()
    return f"{estimator.name} ({options})" if options else estimator.name


def kept(source: Source) -> pd.DataFrame:
    """The draws of chosen coordinates, one row per draw."""
    frames = []
    for estimator, M, K in source.plan.grid:
        units = source.plan.units(estimator, M, K)
        for network, job, unit in zip(
            ("inference", "generative"), source.plan.jobs(estimator, M, K), units, strict=True
        ):
            drawn = source.drawn.get(job)
            values = None if drawn is None else drawn.kept.get(unit.count)
            for i, coordinate in enumerate([] if drawn is None or values is None else drawn.coordinates):
                if source.layout.network_of(coordinate.partition("[")[0]) != network:
                    continue
                labels = source.labels | {
                    "estimator": estimator.name, "options": estimator.describe(), "M": M, "K": K, "coordinate": coordinate,
                }  # fmt: skip
                frames.append(pd.DataFrame(labels | {"draw": np.arange(len(values)), "value": values[:, i]}))  # type: ignore[index, arg-type]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(DRAWS.columns))
