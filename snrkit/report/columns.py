"""The columns that figures and tables use of each kind of result file, and their types."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from snrkit.errors import ResultsError
from snrkit.report.escape import visible

# What the figures and tables use of each kind of file: column -> type.
_OF_RUN = {"run": "str", "step": "int64", "data": "str"}
_SETTING = {"estimator": "str", "options": "str", "M": "int64", "K": "int64"}
_INTERVAL = {"stderr": "float64", "ci_low": "float64", "ci_high": "float64"}
READINGS = {
    **_OF_RUN, **_SETTING, "seed": "int64", "value": "float64", **_INTERVAL, "floor": "float64", "draws": "int64",
}  # fmt: skip
SCORES = {
    "metric": "str", "value": "float64", "stderr": "float64", "definition": "str", "step": "int64", "data": "str",
    "points": "int64", "samples": "int64",
}  # fmt: skip
SLOPES = {
    **_OF_RUN, "seed": "int64", "method": "str", "estimator": "str", "options": "str", "block": "str", "axis": "str",
    "fixed": "int64", "over": "str", "slope": "float64", **_INTERVAL, "expected": "float64", "verdict": "str",
    "reason": "str",
}  # fmt: skip
DRAWS = {**_OF_RUN, "seed": "int64", "method": "str", **_SETTING, "coordinate": "str", "value": "float64"}
METRICS = {"epoch": "int64", "step": "int64", "bound": "float64", "test_iwae64": "float64", "beta": "float64"}
POINTS = {"point": "int64", "step": "int64", "data": "str", "ess_64": "float64"}
ADVICE = {
    "estimator": "str", "M": "int64", "K": "int64",
    **{f"snr_{block}{part}": "float64" for block in ("inference", "generative") for part in ("", "_stderr")},
    "seconds_per_step": "float64", "bound_gap": "float64",
}  # fmt: skip
PUBLISHED = {
    "data": "str", "estimator": "str", "options": "str", "M": "float64", "K": "float64", "metric": "str",
    "value": "float64", "error": "float64", "reference": "str",
}  # fmt: skip
IMAGES = {
    **_OF_RUN, "k": "int64", "seed": "int64", "height": "int64", "width": "int64", "point": "int64", "kind": "str",
    "sample": "int64",
}  # fmt: skip
MEANS = {**_OF_RUN, "layer": "int64", "point": "int64", "label": "Int64", "z1": "float64"}

# The least that a column may hold.
LEAST = {
    "step": 0, "epoch": 0, "M": 1, "K": 1, "fixed": 1, "k": 1, "draws": 1, "points": 1, "samples": 1, "layer": 1,
    "height": 1, "width": 1, "point": 0, "sample": 0, "stderr": 0, "error": 0, "floor": 0, "seconds_per_step": 0,
    "snr_inference_stderr": 0, "snr_generative_stderr": 0,
}  # fmt: skip
# Beyond these no axis can be drawn.
_LARGEST, _SMALLEST = 1e100, 1e-100


def typed(
    table: pd.DataFrame, path: Path, columns: Mapping[str, str], remedy: str = "delete it and make it again"
) -> pd.DataFrame:
    """A table with all of these columns in these types; no figure can show an infinite number, so it becomes NaN.

    Args:
        table: as read.
        path: the file it is from, for the error message.
        columns: name to type.
        remedy: what to do about the file, for the error message.

    Raises:
        ResultsError: a column is missing, or holds something else.
    """
    missing = [name for name in columns if name not in table]
    if missing:
        raise ResultsError(str(path), f"columns missing: {', '.join(missing)}", remedy)
    found = {name: _column(table[name], dtype, path, remedy) for name, dtype in columns.items()}
    for name in found.keys() & LEAST.keys():
        low = found[name][found[name] < LEAST[name]]
        if len(low):
            problem = f"column '{name}' holds {low.iloc[0]:g}, and the least it can be is {LEAST[name]}"
            raise ResultsError(str(path), problem, remedy)
    return table.assign(**found)


def _column(values: "pd.Series[Any]", dtype: str, path: Path, remedy: str) -> "pd.Series[Any]":
    if dtype == "str":
        return values.fillna("").astype(str)
    try:
        numbers: pd.Series[Any] = pd.to_numeric(values)
        numbers = numbers.replace([np.inf, -np.inf], np.nan)
        if dtype == "float64":
            numbers = numbers.astype("float64")
            numbers = numbers.mask(numbers.abs() > _LARGEST).mask(numbers.abs() < _SMALLEST, 0.0)
        return numbers.astype(dtype)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError, OverflowError) as error:
        problem = f"column '{values.name}' holds something else than numbers ({visible(str(error))[:100]})"
        raise ResultsError(str(path), problem, remedy) from None


def whole_pixels(table: pd.DataFrame) -> bool:
    """Whether each image is as many finite numbers as its height and width say."""
    try:
        pixels = [np.asarray(image, dtype=float) for image in table["pixels"]]
    except (TypeError, ValueError):
        return False
    sizes = table["height"] * table["width"]
    return all(image.shape == (size,) and np.isfinite(image).all() for image, size in zip(pixels, sizes, strict=True))


def whole_grid(table: pd.DataFrame) -> bool:
    """Whether every point has as many images of each kind as the others."""
    counts = pd.crosstab(table["point"], table["kind"])
    return table.empty or (set(counts) == {"input", "q", "q_iw"} and bool((counts == counts.iloc[0]).all(axis=None)))
