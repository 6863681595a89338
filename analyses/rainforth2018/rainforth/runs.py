"""The runs that the sections speak of."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import at_stage_ends, evaluated, finished, inference_snr, label, spec_of, trained
from snrkit.errors import ResultsError
from snrkit.runs.folder import RunDir
from snrkit.specs.run import EstimatorSpec, RunSpec, UpdateSpec

ESTIMATORS = {
    "vae": {"name": "vae", "M": 64, "K": 1},
    "iwae": {"name": "iwae", "M": 1, "K": 64},
    "miwae": {"name": "miwae", "M": 8, "K": 8},
    "piwae": {"name": "piwae", "M": 8, "K": 8},
    "ciwae": {"name": "ciwae", "M": 1, "K": 64, "options": {"beta": 0.5}},
}


@dataclass(frozen=True)
class Measured:
    """A finished run and what was found on it.

    Attributes:
        run: its directory.
        spec: its spec.
        scores: by metric: value, stderr, sd, definition.
        points: one row per test point.
        snr: the inference network's SNR, one row per (step, metric).
    """

    run: RunDir
    spec: RunSpec
    scores: pd.DataFrame
    points: pd.DataFrame
    snr: pd.DataFrame

    @property
    def name(self) -> str:
        """Its estimator with options and sizes."""
        return f"{label(self.spec)} ({self.spec.estimator.M}, {self.spec.estimator.K})"

    def final_snr(self, metric: str) -> tuple[float, float]:
        """A reading at the end of training, and its standard error."""
        last = self.snr[(self.snr.step == self.snr.step.max()) & (self.snr.metric == metric)].iloc[0]
        return float(last.value), float(last.stderr)


def main_runs(place: Place) -> dict[str, list[Measured]]:
    """Estimator to its runs, one per seed in order: as the settings say, or those that were given."""
    own = place.settings
    if place.given:
        found = _given(place)
    else:
        specs = [spec_of(own["base"], {"estimator": e}, seed) for seed in own["seeds"] for e in ESTIMATORS.values()]
        observe = at_stage_ends(own["snr"]["draws"], own["snr"]["points"])
        found = [(trained(spec, place, observe), spec) for spec in specs]
    groups: dict[str, list[Measured]] = {}
    for run, spec in sorted(found, key=lambda pair: (list(ESTIMATORS).index(pair[1].estimator.name), pair[1].seed)):
        groups.setdefault(spec.estimator.name, []).append(measured(place, run, spec))
    return groups


def _given(place: Place) -> list[tuple[RunDir, RunSpec]]:
    """The runs of the five estimators in the folder that was given.

    Raises:
        ResultsError: there are none, they differ in more than estimator and seed, or two differ in nothing.
    """
    found = [pair for pair in finished(place.runs) if _matches(pair[1])]
    argument, remedy = f"--runs {place.runs}", "give the folder of one sweep"
    if not found:
        raise ResultsError(argument, "no finished run of the five estimators", remedy)
    specs = [spec for _, spec in found]
    first = _scale(specs[0])
    for table in first:
        if len(values := {str(_scale(spec)[table]) for spec in specs}) > 1:
            raise ResultsError(argument, f"runs of different {table}: {' | '.join(sorted(values))}", remedy)
    names = Counter(f"{label(spec)} of seed {spec.seed}" for spec in specs)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ResultsError(argument, f"more than one run of {', '.join(twice)}", remedy)
    return found


def _scale(spec: RunSpec) -> dict[str, Any]:
    """What runs that are compared have in common: all that makes a run, but its estimator and seed."""
    left_out = {"estimator", "seed", "checkpoint_every", "keep_every", "eval_points"}
    return {name: value for name, value in spec.model_dump().items() if name not in left_out}


def _matches(spec: RunSpec) -> bool:
    """Whether a run is one of the five, trained plainly: its estimator, sizes and options, and one step."""
    known = [EstimatorSpec.model_validate(wanted) for wanted in ESTIMATORS.values()]
    return spec.update == UpdateSpec() and spec.estimator in known


def measured(place: Place, run: RunDir, spec: RunSpec) -> Measured:
    """Evaluate a run and measure its SNR, where that has not been done."""
    own = place.settings
    scores, points = evaluated(run, own["evaluate"]["samples"], own["evaluate"]["points"])
    return Measured(run, spec, scores, points, inference_snr(run, own["snr"]["draws"], own["snr"]["points"]))
