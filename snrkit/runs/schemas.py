"""What each kind of result holds, column by column, and the one check that sees to it. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from snrkit.errors import ResultsError

Content = Literal["text", "whole number", "number", "truth value", "list of numbers"]


@dataclass(frozen=True)
class Rule:
    """What a column may hold.

    Attributes:
        content: of every row.
        least: a number's least value; NaN passes, infinity too.
        blank: whether text may be empty, and anything else missing.
    """

    content: Content
    least: float = -np.inf
    blank: bool = False


TEXT, NAME = Rule("text", blank=True), Rule("text")
NUMBER, SIZE = Rule("number", blank=True), Rule("number", least=0.0, blank=True)
FLAG, NUMBERS = Rule("truth value"), Rule("list of numbers")
COUNT, POSITIVE = Rule("whole number", least=0), Rule("whole number", least=1)
LABEL = Rule("whole number", blank=True)

Rules = Mapping[str, Rule]
_RUN: Rules = {"run": NAME, "step": COUNT, "data": NAME}
_SETTING: Rules = {"estimator": NAME, "options": TEXT, "M": POSITIVE, "K": POSITIVE}
_INTERVAL: Rules = {"stderr": SIZE, "ci_low": NUMBER, "ci_high": NUMBER}

SNR: Rules = {
    **_RUN, "scope": NAME, **_SETTING, "block": NAME, "metric": NAME, "value": NUMBER, **_INTERVAL, "floor": NUMBER,
    "draws": POSITIVE, "n_coordinates": COUNT, "n_dropped": COUNT, "definition": TEXT, "seed": COUNT, "method": NAME,
    "mode": NAME, "engine": TEXT, "device": TEXT, "dtype": TEXT, "complete": FLAG, "seconds": SIZE, "parameters": TEXT,
}  # fmt: skip
SLOPES: Rules = {
    **_RUN, "seed": COUNT, "method": NAME, "estimator": NAME, "options": TEXT, "block": NAME, "axis": NAME,
    "fixed": POSITIVE, "over": NAME, "slope": NUMBER, **_INTERVAL, "expected": NUMBER, "verdict": NAME, "reason": TEXT,
}  # fmt: skip
COMPARISONS: Rules = {
    **_RUN, "seed": COUNT, "method": NAME, "M": POSITIVE, "K": POSITIVE, "block": NAME, "first": NAME, "second": NAME,
    "log_ratio": NUMBER, **_INTERVAL, "verdict": NAME,
}  # fmt: skip
DRAWS: Rules = {
    **_RUN, "seed": COUNT, "method": NAME, **_SETTING, "coordinate": NAME, "draw": COUNT, "value": NUMBER,
}  # fmt: skip
POINTS: Rules = {
    "point": COUNT, **_RUN, "samples": POSITIVE, "seed": COUNT, "iwae_64": NUMBER, "log_p": NUMBER, "kl_q_p": NUMBER,
    "elbo": NUMBER, "ess_64": SIZE, "ess": SIZE, "ssim": NUMBER,
}  # fmt: skip
LATENTS: Rules = {**_RUN, "layer": COUNT, "point": COUNT, "label": LABEL}
RECONSTRUCTIONS: Rules = {
    **_RUN, "k": POSITIVE, "seed": COUNT, "height": POSITIVE, "width": POSITIVE, "point": COUNT, "kind": NAME,
    "sample": COUNT, "ssim": NUMBER, "log_likelihood": NUMBER, "pixels": NUMBERS,
}  # fmt: skip


def require(table: pa.Table, rules: Rules, path: Path, remedy: str) -> None:
    """See to it that the columns of a table hold what they should; those that are absent are not missed here.

    Args:
        table: as read.
        rules: column to what it may hold.
        path: the file it is from, for the error message.
        remedy: what to do about the file, for the error message.

    Raises:
        ResultsError: a column is there twice, or holds something else.
    """
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ResultsError(str(path), f"columns twice: {', '.join(twice)}", remedy)
    for name, rule in rules.items():
        problem = _problem(table[name], rule) if name in names else ""
        if problem:
            raise ResultsError(str(path), f"column '{name}' {problem}", remedy)


def require_frame(table: pd.DataFrame, rules: Rules, path: Path, remedy: str) -> None:
    """As ``require``, of a table read from text.

    Raises:
        ResultsError: a column holds something else.
    """
    names = [name for name in rules if name in table]
    try:
        arrow = pa.table({name: pa.array(table[name], from_pandas=True) for name in names})
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise ResultsError(str(path), f"holds several types in a column ({error!s:.80})", remedy) from None
    require(arrow, rules, path, remedy)


def _problem(column: pa.ChunkedArray, rule: Rule) -> str:
    if len(column) and not _fits(column.type, rule.content):
        return f"holds something else than {_plural(rule.content)} ({column.type})"
    if not rule.blank and column.null_count:
        return f"is empty in {column.null_count} rows"
    values = column.drop_null()
    if not len(values) or rule.content in ("truth value", "list of numbers"):
        return ""
    if rule.content == "text":
        blank = 0 if rule.blank else pc.sum(pc.equal(values.cast(pa.string()), "")).as_py()
        return f"is empty in {blank} rows" if blank else ""
    least = _least(values)
    return f"holds {least:g}, and must be at least {rule.least:g}" if least < rule.least else ""


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


def require_evaluation(content: Any, path: Path) -> None:
    """See to it that an evaluation, as read from JSON, is one.

    Raises:
        ResultsError: it is not.
    """
    problem = _evaluation_problem(content)
    if problem:
        raise ResultsError(str(path), f"not an evaluation ({problem})", "evaluate again with 'snrkit evaluate'")


def _evaluation_problem(content: Any) -> str:
    if not isinstance(content, dict) or not isinstance(content.get("rows"), list):
        return "it has no list of rows"
    counts = {"schema": 1, "step": 0, "points": 1, "samples": 1}
    for name, least in counts.items():
        value = content.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            return f"'{name}' is {value!r:.40}, not a whole number from {least} on"
    if not isinstance(content.get("data"), str):
        return "'data' is no text"
    return next((problem for row in content["rows"] if (problem := _score_problem(row))), "")


def _score_problem(row: Any) -> str:
    if not isinstance(row, dict):
        return "a row is no object"
    for name in ("metric", "definition"):
        if not isinstance(row.get(name), str):
            return f"'{name}' of a row is no text"
    for name in ("value", "stderr"):
        # A bound of -inf is null, for JSON has no infinity.
        number = row.get(name, "missing")
        if number is not None and (not isinstance(number, int | float) or isinstance(number, bool)):
            return f"'{name}' of {row['metric']!r:.40} is no number"
    return f"'stderr' of {row['metric']!r:.40} is negative" if (row["stderr"] or 0) < 0 else ""
