"""One evaluated quantity."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from snrkit.types import Array


@dataclass(frozen=True)
class Score:
    """One evaluated quantity.

    Attributes:
        metric: its name.
        value: estimate, an average over the data points unless the definition says otherwise.
        stderr: standard error over data points (bootstrap over points for active units).
        definition: what it is, with units.
        sd: standard deviation over data points; None for what is not an average over them.
        layer: stochastic layer that it is of, from 1 at the data, 0 of a model with one; None for what is of no layer.
        dimensions: latent dimensions of that layer.
    """

    metric: str
    value: float
    stderr: float
    definition: str
    sd: float | None = None
    layer: int | None = None
    dimensions: int | None = None

    @classmethod
    def average(cls, metric: str, values: Array, definition: str) -> Self:
        """The mean over data points of values ``[N]``; of an infinite mean there is no error."""
        if np.isinf(values).any():
            sign = "-" if values.min() == -np.inf else ""
            told = f"{definition}; {sign}infinite, since some weights are zero"
            return cls(metric, float(values.mean()), math.nan, told)
        sd = float(values.std(ddof=1))
        return cls(metric, float(values.mean()), sd / math.sqrt(len(values)), definition, sd)


def as_table(scores: Iterable[Score], threads: int) -> pd.DataFrame:
    """One row per metric, which is the index.

    Args:
        scores: the scores.
        threads: of the processor that they took.
    """
    return pd.DataFrame(map(dataclasses.asdict, scores)).set_index("metric").assign(threads=threads)
