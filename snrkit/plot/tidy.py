"""A table as a user has it, made ready for a figure: what a figure cannot do without, and what may be left out."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from snrkit.errors import SpecError
from snrkit.runs.kinds import check
from snrkit.runs.kinds.outside import contradiction, plain
from snrkit.runs.kinds.snr import SNR

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
    given = plain(table)
    lacking = [name for name in _NEEDED if name not in given]
    if lacking:
        remedy = "give the tidy table with all its columns, and choose rows alone"
        raise SpecError("table", f"lacks the columns {', '.join(lacking)}", remedy)
    assumed = {name: value for name, value in _ASSUMED.items() if name not in given}
    found = _checked(given).assign(**assumed)
    if "parameters" in found:
        for (run, _), rows in found.groupby(["run", "step"]):
            count = rows["parameters"].nunique()
            if count > 1:
                raise SpecError("table", f"has rows of {count} models under the name '{run}' at one step", _MANY)
    if twice := contradiction(found):
        raise SpecError("table", twice, _MANY)
    return found.assign(setting=found["run"].astype(str))


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that are a tidy table's, seen to hold what they should.

    Raises:
        SpecError: one holds something else.
    """
    columns = SNR.own([str(name) for name in table.columns])
    # What a figure can do without may be empty, too.
    lenient = {n: dataclasses.replace(c, blank=c.blank or n not in (*_NEEDED, "run")) for n, c in columns.items()}
    for name, column in lenient.items():
        try:
            wrong = check.problem(pa.table({name: pa.array(table[name], from_pandas=True)}), {name: column})
        except (pa.ArrowException, ValueError, TypeError):
            wrong = f"column '{name}' holds values of several kinds"
        if wrong:
            raise SpecError("table", wrong, "see 'python -m snrkit.runs.kinds snr' for what it is to hold")
    return check.typed(table, columns)
