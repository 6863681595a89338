"""Small sound tables of results, with any column changed."""

import math

import numpy as np
import pandas as pd

from snrkit.runs.kinds.snr import SNR

TYPES = {"whole number": "int64", "number": "float64", "truth value": "bool"}


def table(**columns):
    """Three rows that differ in K, with a NaN among the numbers."""
    rows = pd.DataFrame(
        {
            name: ["text"] * 3 if column.content == "text" else np.arange(3).astype(TYPES[column.content])
            for name, column in SNR.columns.items()
        }
    )
    rows["floor"] = [0.5, math.nan, 0.25]
    return rows.assign(**{"options": "", "K": [1, 10, 100], "M": 1, "draws": [4, 5, 6]} | columns)


def kept(**changes):
    """Two kept draws, as schema 1 had them."""
    return pd.DataFrame(
        {"run": "r", "step": 1, "data": "d", "estimator": "e", "options": "", "M": 1, "K": 2, "coordinate": "a[0]",
         "draw": [0, 1], "seed": 0, "method": "units", "value": 0.5} | changes, index=range(2),
    )  # fmt: skip


def slopes(**changes):
    row = {
        "run": "NA", "step": 5, "data": "d", "estimator": "iwae", "options": "", "block": "all", "axis": "K", "fixed": 1,
        "over": "1,10", "seed": 0, "method": "units", "slope": 0.1 + 0.2, "stderr": 0.01, "ci_low": None, "ci_high": 1 / 3,
        "expected": 0.5, "verdict": "agrees", "reason": "it, so \"to say\"",
    }  # fmt: skip
    return pd.DataFrame([row | changes])
