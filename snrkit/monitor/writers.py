"""Where a monitor tells its readings beside the table; nothing here imports any of them."""

import math
from collections.abc import Callable
from typing import Any

from snrkit.errors import SpecError

# (values by name, step).
Writer = Callable[[dict[str, float], int], None]


def writer_of(given: Any) -> Writer:
    """A function that tells values to what a user gave, by the methods that it has.

    Args:
        given: has ``add_scalar`` (TensorBoard), ``log_metrics`` (mlflow, loggers of Lightning) or ``log`` (Weights &
            Biases); or is a function of (values, step).

    Raises:
        SpecError: it is none of these.
    """
    if callable(getattr(given, "add_scalar", None)):
        return lambda values, step: _scalars(given, values, step)
    if callable(getattr(given, "log_metrics", None)):
        return lambda values, step: given.log_metrics(_finite(values), step=step)
    if callable(getattr(given, "log", None)):
        # Uncommitted, so that the user's own count of steps stays as it is: it goes out with what they log next.
        return lambda values, step: given.log({**_finite(values), "snr/step": step}, commit=False)
    if callable(given):
        told: Writer = given
        return told
    problem = f"a {type(given).__name__} has no add_scalar, log_metrics or log"
    raise SpecError("writer", problem, "give a SummaryWriter, a wandb run, mlflow, or a function of (values, step)")


def _scalars(given: Any, values: dict[str, float], step: int) -> None:
    for name, value in _finite(values).items():
        given.add_scalar(name, value, step)


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
