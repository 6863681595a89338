"""The one check that a table holds what its columns may hold. Imports no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from snrkit.runs.kinds.base import Column, Columns, Content, Kind

_DTYPES = {"text": "str", "whole number": "int64", "number": "float64", "truth value": "bool"}


def checked(kind: Kind, table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The columns of a table read from text, seen to hold what they should, with those that its schema lacks.

    Args:
        kind: what the table is to be.
        table: as read.
        path: the file it is from.

    Raises:
        ResultsError: a column is missing, or holds something else.
    """
    missing = kind.missing(list(table.columns), 1)
    if missing:
        raise kind.error(path, f"columns missing: {', '.join(missing)}")
    columns, found = kind.own(list(table.columns)), {}
    for name, column in columns.items():
        try:
            found[name] = pa.array(table[name], from_pandas=True)
        except (pa.ArrowException, ValueError, TypeError) as error:
            told = f"{_plural(column.content)} ({str(error).partition(chr(10))[0][:80]})"
            raise kind.error(path, f"column '{name}' holds something else than {told}") from None
    wrong = problem(pa.table(found), columns)
    if wrong:
        raise kind.error(path, wrong)
    return kind.fill(typed(table[list(columns)], columns))


def problem(table: pa.Table, columns: Columns) -> str:
    """What a column of a table holds that it should not; those that are absent are not missed here."""
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"columns twice: {', '.join(twice)}"
    for name, column in columns.items():
        found = _problem(table[name], column) if name in names else ""
        if found:
            return f"column '{name}' {found}"
    return ""


def typed(table: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """A table that was checked, its columns in the types that they are described by."""
    # What is of its type already is left alone, which saves most of the time.
    pairs = {name: (table[name], column) for name, column in columns.items()}
    found = {name: (values, _typed(values, column)) for name, (values, column) in pairs.items()}
    changed = {name: new for name, (old, new) in found.items() if new is not old}
    return table.assign(**changed) if changed else table


def _typed(values: "pd.Series[Any]", column: Column) -> "pd.Series[Any]":
    if column.content == "list of numbers":
        return values
    if column.content == "text":
        if values.dtype == "str" and not values.hasnans:
            return values
        return values.astype(object).where(values.notna(), "").astype(str)
    wanted = "Int64" if column.blank and column.content == "whole number" else _DTYPES[column.content]
    return values if values.dtype == wanted else values.astype(wanted)  # type: ignore[call-overload]


def _problem(values: pa.ChunkedArray, column: Column) -> str:
    if pa.types.is_null(values.type):
        return "" if column.blank or not len(values) else f"is empty in {len(values)} rows"
    if len(values) and not _fits(values.type, column.content):
        return f"holds something else than {_plural(column.content)} ({values.type})"
    if not column.blank and values.null_count:
        return f"is empty in {values.null_count} rows"
    known = values.drop_null()
    if not len(known) or column.content in ("truth value", "list of numbers"):
        return ""
    if column.content == "text":
        blank = 0 if column.blank else pc.sum(pc.equal(known.cast(pa.string()), "")).as_py()
        return f"is empty in {blank} rows" if blank else ""
    least = _least(known)
    return f"holds {least:g}, and must be at least {column.least:g}" if least < column.least else ""


def _least(values: pa.ChunkedArray) -> float:
    # Not Arrow's own minimum, which some versions take of NaN too.
    return float(np.fmin.reduce(values.to_numpy().astype(float)))


def _fits(kind: pa.DataType, content: Content) -> bool:
    types = pa.types
    if content == "text":
        return bool(_is_text(kind) or (types.is_dictionary(kind) and _is_text(kind.value_type)))
    if content == "whole number":
        return bool(types.is_integer(kind) and not types.is_uint64(kind))
    if content == "number":
        return bool(types.is_floating(kind) or types.is_integer(kind))
    if content == "truth value":
        return bool(types.is_boolean(kind))
    listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(listed and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _plural(content: Content) -> str:
    return {"text": "texts", "list of numbers": "lists of numbers"}.get(content, f"{content}s")
