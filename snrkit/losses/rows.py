"""From readings of losses to the tables that every measurement has."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import pandas as pd

from snrkit.diagnostics.tables import Provenance, log_ratio, verdict
from snrkit.losses.asked import Asked
from snrkit.losses.measuring import Measured
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.tidy import TidyTable

_STRENGTH = "snr_pooled_squared"


def rows(what: Asked, done: Mapping[str, Measured], provenance: Provenance) -> pd.DataFrame:
    """The tidy table of ``snrkit.runs.kinds.snr``."""
    found: list[dict[str, Any]] = []
    for name, one in done.items():
        constant = _labels(what, one, provenance) | {
            "estimator": name, "options": "", "K": 1, "draws": what.batches, "complete": True, "engine": one.engine,
            "device": one.device, "dtype": one.dtype, "seconds": one.seconds, "parameters": one.parameters,
            "threads": one.threads,
        }  # fmt: skip
        for M, readings in one.readings.items():
            for reading in readings:
                interval = reading.interval
                found.append(
                    constant | {
                        "M": M, "scope": reading.scope, "block": reading.block, "metric": reading.metric,
                        "value": interval.value, "stderr": interval.stderr, "ci_low": interval.low,
                        "ci_high": interval.high, "floor": reading.floor, "n_coordinates": reading.n_coordinates,
                        "n_dropped": reading.n_dropped, "definition": reading.definition, "pulled": reading.pulled,
                        "target": reading.target,
                    }
                )  # fmt: skip
    return TidyTable(found, columns=list(SNR.columns))


def _labels(what: Asked, one: Measured, provenance: Provenance) -> dict[str, Any]:
    modules = bool(what.trained.modules)
    parts = ["loss", *([f"batches drawn anew, {what.repeats} draws of each"] if what.redrawn else [])]
    parts += [] if one.found.reproducible else ["not reproducible"]
    parts += ["training mode"] if modules and what.mode == "training" else []
    return {
        "run": provenance.run, "step": provenance.step,
        "data": "drawn anew" if what.redrawn and provenance.data == "given" else provenance.data,
        "seed": what.seed, "method": ", ".join(parts), "direct": False, "nested": False, "mean_from": "",
        "separate": False, "mode": what.mode if modules else "as given",
    }  # fmt: skip


def comparisons(what: Asked, done: Mapping[str, Measured], provenance: Provenance) -> pd.DataFrame:
    """Differences of log snr_pooled between every two losses, on the same seeds."""
    found = []
    for first, second in combinations(done, 2):
        one, two = (
            {r.block: r for r in done[name].readings[what.M[0]] if r.metric == _STRENGTH} for name in (first, second)
        )
        for block in one:
            interval = log_ratio(one[block], two[block])
            labels = {k: v for k, v in _labels(what, done[first], provenance).items() if k in COMPARISONS.columns}
            for M in what.M:
                found.append(
                    labels | {
                        "M": M, "K": 1, "block": block, "first": first, "second": second, "log_ratio": interval.value,
                        "stderr": interval.stderr, "ci_low": interval.low, "ci_high": interval.high,
                        "verdict": verdict(interval, first, second),
                    }
                )  # fmt: skip
    return pd.DataFrame(found, columns=list(COMPARISONS.columns))
