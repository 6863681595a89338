"""What a report makes of the columns of results before it draws them."""

import numpy as np
import pandas as pd

# Beyond these no axis can be drawn.
_LARGEST, _SMALLEST = 1e100, 1e-100


def drawable(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose numbers an axis can show: those that are infinite or too large become NaN, those too small 0."""
    numbers = table.select_dtypes("float64")
    finite = numbers.replace([np.inf, -np.inf], np.nan).mask(numbers.abs() > _LARGEST)
    return table.assign(**{str(name): column for name, column in finite.mask(finite.abs() < _SMALLEST, 0.0).items()})
