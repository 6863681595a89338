"""What a report makes of the columns of results before it draws them."""

import numpy as np
import pandas as pd

# Beyond these no axis can be drawn.
_LARGEST, _SMALLEST = 1e100, 1e-100


def drawable(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose numbers an axis can show: those that are infinite or too large become NaN, those too small 0."""
    shown = {}
    for name in table.select_dtypes("float64"):
        values = table[name].to_numpy()
        size = np.abs(values)
        found = np.where(size > _LARGEST, np.nan, np.where(size < _SMALLEST, 0.0, values))
        if not np.array_equal(found, values, equal_nan=True):
            shown[str(name)] = found
    return table.assign(**shown) if shown else table
