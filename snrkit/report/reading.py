"""One result file as a report reads it: its rows, with what its run was trained with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.errors import ResultsError, SnrkitError
from snrkit.report.columns import drawable
from snrkit.report.escape import visible
from snrkit.report.find import run_folder
from snrkit.report.naming import OF_MODEL
from snrkit.report.style import estimator_label
from snrkit.report.trained import trained, trained_as
from snrkit.runs.folder import RunDir
from snrkit.runs.kinds import KINDS, outside
from snrkit.runs.kinds.wide import specs_in


def _of_setting(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """With what the run was trained with apart from its seed; of a file in no run directory what it says of its runs."""
    if RunDir(run_folder(path)).config.is_file():
        return table.assign(**_whose(trained(path)))
    unknown = {**dict.fromkeys(["rest", *OF_MODEL], ""), "setting": visible(str(path))}
    runs = {run: _whose(trained_as(spec)) for run, spec in specs_in(path).items()}
    if not runs:
        return table.assign(**unknown)
    rows = [runs.get(run, unknown) for run in table["run"].astype(str)]
    return table.assign(**{name: [row[name] for row in rows] for name in unknown})


def _whose(known: dict[str, Any]) -> dict[str, str]:
    """What a run was trained with, as texts."""
    whose = {
        "trained_with": estimator_label(known["estimator"], known["options"]), "trained_M": known["M"],
        "trained_K": known["K"], **{name: known[name] for name in ("trained_on", "model", "rest", "setting")},
    }  # fmt: skip
    return {name: str(value) for name, value in whose.items()}


def _of_run(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    return table.assign(**trained(path))


def _of_epochs(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    files = RunDir(path.parent)
    return _of_run(table, path).assign(state=files.state() if files.status.is_file() else "")


def _of_points(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """With what the run was trained with, where the file does not say it itself."""
    return table.assign(**{name: value for name, value in trained(path).items() if name not in table})


def _of_advice(table: pd.DataFrame, _path: Path) -> pd.DataFrame:
    seen: Any = [
        [{k: visible(v) if isinstance(v, str) else v for k, v in one.items()} for one in own]
        for own in table["reasons"]
    ]
    return table.assign(reasons=seen)


# Kind -> what its frame has beside the columns of its files.
_ADDED: dict[str, Callable[[pd.DataFrame, Path], pd.DataFrame]] = {
    "snr": _of_setting,
    "slopes": _of_setting,
    "comparisons": _of_setting,
    "metrics": _of_epochs,
    "evaluations": _of_run,
    "points": _of_points,
    "advice": _of_advice,
}


def read(
    kind: str, path: Path, shaped: Callable[[pd.DataFrame], pd.DataFrame] = drawable
) -> tuple[pd.DataFrame, list[str]]:
    """One file; and what it lacks, if another program wrote it, in sentences.

    Args:
        kind: of the result.
        path: the file.
        shaped: what to make of its numbers.

    Raises:
        ResultsError: it is damaged or of a newer schema.
        SpecError: its run's ``config.toml`` is not valid.
    """
    try:
        of_another = kind == "snr" and (path.suffix == ".csv" or outside.is_one(path))
        found, remarks = outside.read(path) if of_another else (KINDS.load(kind).read(path), [])
        table = shaped(found)
        return (_ADDED[kind](table, path) if kind in _ADDED else table), [visible(line) for line in remarks]
    except SnrkitError:
        raise
    except Exception as error:  # whatever pandas and pyarrow make of arbitrary bytes
        problem = f"cannot be read ({error.__class__.__name__}: {visible(str(error))[:80]})"
        renamed = "give file and folder names in UTF-8"
        remedy = renamed if isinstance(error, UnicodeEncodeError) else "delete it and make it again"
        raise ResultsError(visible(str(path)), problem, remedy) from None
