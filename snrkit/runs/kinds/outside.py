"""The tidy table as others write it: with pandas, with fewer columns. What is missing is filled in and named. No torch."""

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.errors import ResultsError, SpecError
from snrkit.runs.kinds import check
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.tidy import TidyTable

# What no table can do without, and what stands for the rest, beside what the kind itself fills in.
NEEDED = ("metric", "value")
_STAND_IN: Mapping[str, Any] = {
    "run": "table", "step": 0, "data": "unknown", "scope": "minibatch", "estimator": "unknown", "options": "", "M": 1,
    "K": 1, "block": "all", "stderr": math.nan, "ci_low": math.nan, "ci_high": math.nan, "floor": math.nan, "draws": 1,
    "n_coordinates": 0, "n_dropped": 0, "definition": "", "seed": 0, "method": "unknown", "mode": "evaluation", "engine": "",
    "device": "", "dtype": "", "complete": True, "seconds": 0.0,
}  # fmt: skip
# What a reader loses with a column, where that is not plain.
_LOSSES = {
    "stderr": "no error bars",
    "floor": "no floor, so that signal and noise cannot be told apart",
    "draws": "shown as 1",
    "estimator": "shown as 'unknown'",
    "run": "shown as 'table'",
    "block": "taken for 'all'",
    "K": "taken for 1",
    "M": "taken for 1",
}


def contradiction(rows: pd.DataFrame) -> str:
    """What a tidy table reads twice, and differently, in words; empty if nothing: one of the two would be lost unseen."""
    what = [column for column in SNR.key if column in rows]
    readings = rows.drop_duplicates([*what, "value"])
    again = readings[readings.duplicated(what)]
    if again.empty:
        return ""
    first = again.iloc[0]
    of = ", ".join(f"{name} {first[name]}" for name in ("run", "step", "estimator", "M", "K", "block") if name in rows)
    return f"has two different readings of '{first['metric']}' ({of})"


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """A table as its user has it, without what pandas makes of columns on the way.

    Columns of the tidy table that became an index are columns again; categories are what they are names of; whole numbers
    that became floating-point ones, as they do beside a missing value and in files of text, are whole.

    Args:
        table: any.

    Raises:
        SpecError: a column is there twice.
    """
    found = pd.DataFrame(table)
    lost = [name for name in found.index.names if name is not None and _is_ours(name) and name not in found]
    found = (found.reset_index(lost) if lost else found).reset_index(drop=True)
    twice = sorted({str(name) for name in found.columns[found.columns.duplicated()]})
    if twice:
        raise SpecError("table", f"has columns twice: {', '.join(twice)}", "leave one of each")
    settled = {name: _settled(found[name], SNR.columns[name].content) for name in SNR.columns if name in found}
    return found.assign(**settled)


def _settled(values: "pd.Series[Any]", content: str) -> "pd.Series[Any]":
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    if content == "text" and values.isna().all():  # of a type that says nothing
        return pd.Series([None] * len(values), values.index, dtype=object)
    values = values.infer_objects()
    if content == "whole number" and pd.api.types.is_float_dtype(values):
        is_whole = values.notna().all() and bool((values % 1 == 0).all())
        return values.astype("int64") if is_whole else values
    return values


def completed(table: pd.DataFrame, name: str, **labels: Any) -> tuple[pd.DataFrame, list[str]]:
    """A table with every column of the tidy table.

    Args:
        table: with at least ``metric`` and ``value``.
        name: what to call it in messages.
        labels: columns that are the same in every row, and are to be put over its own.

    Returns:
        The rows, and what was missing or is left out, in sentences.

    Raises:
        SpecError: a column is there twice.
        ResultsError: a column that no table can do without is missing, one holds something else than it should, a reading is
            there twice and differs, or readings of several models would be taken for one's.
    """
    given = plain(table).assign(**labels)
    lacking = [column for column in NEEDED if column not in given]
    if lacking:
        remedy = "one row per reading; see 'python -m snrkit.runs.kinds snr'"
        raise ResultsError(name, f"has no column {' and no column '.join(lacking)}", remedy)
    filled = {column: value for column, value in _STAND_IN.items() if column not in given}
    odd = [str(column) for column in given.columns if not _is_ours(column)]
    rows = given.drop(columns=[column for column in given.columns if not _is_ours(column)]).assign(**filled)
    found = SNR.complete(check.checked(SNR, rows, Path(name)))
    if wrong := contradiction(found) or (SNR.whole(found) if SNR.whole else ""):
        raise ResultsError(name, wrong, "tell models apart by the column run, repetitions by seed")
    return found, [*_said(name, filled), *_left_out(name, odd)]


def _is_ours(column: Hashable) -> bool:
    return isinstance(column, str) and column in SNR.columns


def _said(name: str, filled: Mapping[str, Any]) -> list[str]:
    if not filled:
        return []
    told = [f"{column} ({_LOSSES[column]})" for column in filled if column in _LOSSES]
    rest = [column for column in filled if column not in _LOSSES]
    return [f"{name}: lacks {', '.join([*told, *rest])}"]


def _left_out(name: str, odd: list[str]) -> list[str]:
    return [f"{name}: {', '.join(odd)} are no columns of the tidy table, and left out"] if odd else []


def is_one(path: Path) -> bool:
    """Whether a Parquet file is of another program and has what a tidy table needs."""
    import pyarrow.parquet as pq

    return SNR.is_foreign(path) and set(NEEDED) <= set(pq.read_schema(path).names)


def read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """A table that another program wrote, as Parquet or CSV; see ``completed``.

    Raises:
        ResultsError: it cannot be read, or lacks what no table can do without.
    """
    try:
        table = _of_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except Exception as error:  # whatever pandas makes of arbitrary bytes
        problem = f"cannot be read as a table ({error.__class__.__name__})"
        raise ResultsError(str(path), problem, "write it with DataFrame.to_parquet or save_table") from None
    return completed(table, str(path))


def _of_csv(path: Path) -> pd.DataFrame:
    """A CSV file, in which an empty text and a number that is missing are alike."""
    found = pd.read_csv(path)
    texts = (name for name in found if _is_ours(name) and SNR.columns[str(name)].content == "text")
    return found.assign(
        **{str(name): found[name].astype(object).fillna("") for name in texts if found[name].isna().any()}
    )


def save_table(table: pd.DataFrame, path: str | Path, **labels: str | int) -> Path:
    """Add a tidy table to a Parquet file: rows of the same key replace the old ones, the others stay.

    The file bears a checksum, ``snrkit report`` draws it, and several processes may write to it.

    Args:
        table: of ``measure``, ``measure_loss`` or ``Measurement.table``, or of your own with at least ``metric`` and
            ``value``; what else is missing is filled in.
        path: a file whose name ends in ``.parquet``.
        labels: what the rows are to be called: ``run``, ``step`` and ``data``, which tell models apart that are kept in one
            file.

    Returns:
        The file.

    Raises:
        SpecError: the name does not end in ``.parquet``, or another label is given.
        ResultsError: the table, or what is in the file, is not one.
        OutputError: it cannot be written.
    """
    if Path(path).suffix != ".parquet":
        raise SpecError("path", f"'{path}' does not end in .parquet", "name a Parquet file")
    odd = next((label for label in labels if label not in ("run", "step", "data")), None)
    if odd is not None:
        raise SpecError(odd, "is no label of rows", "choose from run, step, data")
    rows, _ = completed(table, "table", **labels)
    SNR.merge(Path(path), rows)
    return Path(path)


def load_table(path: str | Path) -> pd.DataFrame:
    """A tidy table from a file of ``save_table`` or ``snrkit snr``, or of any program that writes Parquet or CSV.

    Args:
        path: the file.

    Returns:
        The rows with every column of the tidy table; ``table.attrs["remarks"]`` says what was missing.

    Raises:
        ResultsError: it is missing or damaged, or has no columns ``metric`` and ``value``.
    """
    place = Path(path)
    if not place.is_file():
        raise ResultsError(str(path), "does not exist", "give a file of save_table, or of 'snrkit snr'")
    is_ours = place.suffix != ".csv" and not SNR.is_foreign(place)
    rows, remarks = (SNR.read(place), []) if is_ours else read(place)
    table = TidyTable(rows)
    table.attrs["remarks"] = remarks
    return table
