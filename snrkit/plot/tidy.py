"""A table as a user has it, made ready for a figure: what a figure cannot do without, and what may be left out."""

from typing import Any

import numpy as np
import pandas as pd

from snrkit.errors import SpecError
from snrkit.runs.kinds.outside import contradiction

# Without these there is nothing to draw.
_NEEDED = ("estimator", "M", "K", "block", "metric", "value", "ci_low", "ci_high", "floor", "draws")
# What a table written by hand may leave out.
_ASSUMED: dict[str, Any] = {
    "run": "python", "step": 0, "data": "given", "scope": "minibatch", "options": "", "stderr": np.nan, "seed": 0,
    "method": "", "dtype": "", "mode": "evaluation", "target": "", "direct": False, "pulled": False, "complete": True,
}  # fmt: skip
_MANY = "give each model's rows a name, table.assign(run='mine'), before they are put together"


def tidied(table: object) -> pd.DataFrame:
    """Rows of the tidy table as the report's figures take them, a run being what one ``run`` names.

    Raises:
        SpecError: it is no table, lacks columns that every figure needs, or holds several models, or other readings of
            the same, under one name.
    """
    if not isinstance(table, pd.DataFrame):
        remedy = "give the table of snrkit.measure, or `.table` of what a run measured"
        raise SpecError("table", f"must be a pandas DataFrame, got {type(table).__name__}", remedy)
    lacking = [name for name in _NEEDED if name not in table]
    if lacking:
        remedy = "give the tidy table with all its columns, and choose rows alone"
        raise SpecError("table", f"lacks the columns {', '.join(lacking)}", remedy)
    plain = pd.DataFrame(table)
    found = plain.assign(**{name: value for name, value in _ASSUMED.items() if name not in plain})
    if "parameters" in found:
        for (run, _), rows in found.groupby(["run", "step"]):
            count = rows["parameters"].nunique()
            if count > 1:
                raise SpecError("table", f"has rows of {count} models under the name '{run}' at one step", _MANY)
    if twice := contradiction(found):
        raise SpecError("table", twice, _MANY)
    return found.assign(setting=found["run"].astype(str))
