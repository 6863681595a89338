"""Small sound tables of results, with any column changed."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa

from snrkit.runs.tables import COLUMNS


def table(**columns):
    """Three rows that differ in K, with a NaN among the numbers."""
    rows = pd.DataFrame(
        {
            name: ["text"] * 3 if pa.types.is_string(kind) else np.arange(3).astype(kind.to_pandas_dtype())
            for name, (kind, _) in COLUMNS.items()
        }
    )
    rows["floor"] = [0.5, math.nan, 0.25]
    return rows.assign(**{"options": "", "K": [1, 10, 100], "M": 1, "draws": [4, 5, 6]} | columns)


def slopes(**changes):
    row = {
        "run": "NA", "step": 5, "data": "d", "estimator": "iwae", "options": "", "block": "all", "axis": "K", "fixed": 1,
        "over": "1,10", "seed": 0, "method": "units", "slope": 0.1 + 0.2, "stderr": 0.01, "ci_low": None, "ci_high": 1 / 3,
        "expected": 0.5, "verdict": "agrees", "reason": "it, so \"to say\"",
    }  # fmt: skip
    return pd.DataFrame([row | changes])
