"""``snrkit.check``: what a model is, as a table."""

from typing import Any

import pandas as pd
from torch import nn

from snrkit.specs.base import Mode
from snrkit.trial.opening import opened
from snrkit.trial.table import table


def check(model: nn.Module, x: Any, mode: Mode = "evaluation") -> pd.DataFrame:
    """Try a model as every measurement does before its first draw, and tell what was found.

    Some tens of calls on a few data points find out whether the model is a function of parameters, data and noise, whether
    its data points and samples are independent, z is reparameterised, a parameter is in both networks, and log-weights are
    finite. Values are compared in float64 where the model allows it.

    Args:
        model: a ``LatentModel``, any module with ``encode`` and ``log_joint``, or a wrapper of one; it is left as it is.
        x: data ``[B, *event]`` as for ``snrkit.measure``.
        mode: ``evaluation`` or ``training``.

    Returns:
        One row per question: ``question``, ``finding``, ``what follows`` (empty where nothing does).

    Raises:
        SpecError: the data cannot be used, or shapes are wrong.
        ModelError: the model's own code raised.
        CapabilityError: the model cannot be measured in this mode.
        NonFiniteError: log-weights are NaN or infinite.
    """
    with opened(model, x, mode) as subject:
        return table(subject.findings)
