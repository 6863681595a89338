"""The tidy table of gradient measurements: one row per (run, step, data, scope, estimator, options, M, K, block, metric)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snrkit.errors import ResultsError
from snrkit.runs.kinds.base import BLOCK, HOW, INTERVAL, NOISE, RUN, SETTING, count, flag, name, number, since, text
from snrkit.runs.kinds.earlier import drawn_as
from snrkit.runs.kinds.parquet import ParquetKind

if TYPE_CHECKING:
    import pandas as pd


def _later(table: "pd.DataFrame") -> Mapping[str, Any]:
    """What tables of schema 1 say in the words of the definition and the method; the first of them lack two columns more."""
    definition, biased = table["definition"].astype(str), table["metric"].astype(str).str.startswith("bias_")
    return drawn_as(table) | {
        "threads": 0,
        "parameters": "",
        "pulled": definition.str.contains("pulled towards its noise value", regex=False).astype(bool),
        "target": definition.str.partition("; target: ")[2].where(biased, "") if len(table) else "",
    }


# What readings that belong together have in common, beside their parameters.
_TOGETHER = ["run", "step", "data", "estimator", "options", "seed", "method", "dtype"]
_APART = "give each a run of its own with run= or step=, or save into another file"


def _mixed(table: "pd.DataFrame") -> str:
    """What is wrong with a table in which readings of several models would be taken for one's; nothing if none would."""
    if len(set(table["parameters"])) < 2:
        return ""
    known = table[table["parameters"] != ""].drop_duplicates([*_TOGETHER, "parameters"])
    again = known[known.duplicated(_TOGETHER)]
    if again.empty:
        return ""
    run, step, estimator = (again.iloc[0][name] for name in ("run", "step", "estimator"))
    return f"has readings of several models under the name '{run}' at step {step} ({estimator})"


SNR = ParquetKind(
    name="snr",
    pattern="*.parquet",
    columns={
        **RUN,
        "scope": name(
            "'minibatch': of the mean over the points; 'points', 'dataset': variance parts, errors over draws, points"
        ),
        **SETTING,
        **BLOCK,
        "metric": name("what was measured"),
        "value": number("the reading"),
        **INTERVAL,
        "floor": number("what pure noise would read (snr_pooled: its 95 % point); NaN where it has no meaning"),
        "draws": count("gradient draws R behind the row", 1),
        "n_coordinates": count("coordinates that entered the reading"),
        "n_dropped": count("coordinates left out because they are zero, or constant, but for rounding"),
        "definition": text("the definition of the metric, in a phrase, and what the reader of this very row must know"),
        **NOISE,
        "mode": HOW["mode"],
        "engine": text("what computed the draws"),
        "device": text("where"),
        "dtype": text(
            "floating-point type of the draws, and of autocast or parts of the model (moments are always float64)"
        ),
        "complete": flag("False where a measurement was interrupted and the row rests on the draws finished by then"),
        "seconds": number("wall time of the draws behind the row", 0.0),
        "parameters": since(
            2, text("SHA-256 of the parameters measured on, shortened; empty in tables from before this column")
        ),
        **HOW,
        "threads": since(
            3, count("threads of the processor that made the draws, on which last bits depend; 0 in tables from before")
        ),
        "pulled": since(
            2, flag("whether the reading rests on too few draws, so that noise pulls it towards its floor")
        ),
        "target": since(2, text("what a bias is the distance to; empty of other metrics")),
    },
    remedy="measure again with 'snrkit snr'",
    key=(
        "run",
        "step",
        "data",
        "scope",
        "estimator",
        "options",
        "M",
        "K",
        "block",
        "metric",
        "seed",
        "method",
        "dtype",
    ),
    of_run=("config.toml",),
    version=3,
    later=_later,
    whole=_mixed,
    apart=_APART,
    finished="complete",
    marked=True,
)


def require_same_parameters(path: Path, run: str, step: int, parameters: str) -> None:
    """Find out before the draws whether a table holds rows of another run of the same name, which must not be replaced.

    Args:
        path: the table; there may be none yet.
        run: name of the run that is to be measured.
        step: optimiser steps that it has done.
        parameters: digest of its parameters, as in the table.

    Raises:
        ResultsError: it does, or it is damaged or of a newer schema.
    """
    if not path.exists():
        return
    table = SNR.read(path)
    known = table[(table["run"] == run) & (table["step"] == step)]["parameters"]
    if not known.isin(["", parameters]).all():
        problem = f"holds rows of a run '{run}' that were measured on other parameters at step {step}"
        raise ResultsError(str(path), problem, "give another `out`, or delete the file if that run is gone")


def require_asked_alike(path: Path, rows: "pd.DataFrame") -> None:
    """Find out at a training's first rows whether those of an earlier one would be left beside its own.

    Rows of a step measured again replace the old ones, but not those at an M or K that is no longer asked for.

    Args:
        path: the table; there may be none yet.
        rows: of the training's first measurement, all of one step.

    Raises:
        ResultsError: from this step on there are such rows, or the table is damaged or of a newer schema.
    """
    if not path.exists():
        return
    known = SNR.read(path)
    begun = rows["step"].iloc[0]
    known = known[(known["parameters"] != "") & (known["step"] >= begun)]
    is_same = (known["step"] == begun) & known["parameters"].isin(rows["parameters"])
    of = [name for name in _TOGETHER if name != "step"]
    asked = rows[[*of, "M", "K"]].drop_duplicates()
    alike = known[~is_same].merge(asked[of].drop_duplicates(), on=of)
    left = alike.merge(asked, on=[*of, "M", "K"], how="left", indicator=True).query("_merge == 'left_only'")
    if len(left):
        run, step, M, K = (left.iloc[0][name] for name in ("run", "step", "M", "K"))
        problem = (
            f"has readings of an earlier training '{run}' at step {step} and M = {M}, K = {K}, which is not asked for"
        )
        raise ResultsError(str(path), problem, "give another run= or out=, or delete the file if that training is gone")
