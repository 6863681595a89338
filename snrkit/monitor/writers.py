"""Where a monitor tells its readings beside the table; nothing here imports any of them."""

import logging
import math
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

from snrkit.errors import SpecError

_LOG = logging.getLogger("snrkit")

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
        named = _named_for_mlflow if isinstance(given, ModuleType) else dict
        return lambda values, step: given.log_metrics(named(_finite(values)), step=step)
    if callable(getattr(given, "log", None)):
        return _WeightsAndBiases(given)
    if callable(given):
        told: Writer = given
        return told
    problem = f"a {type(given).__name__} has no add_scalar, log_metrics or log"
    raise SpecError("writer", problem, "give a SummaryWriter, a wandb run, mlflow, or a function of (values, step)")


class _WeightsAndBiases:
    """Tells a run, or the module ``wandb`` for the run of the time, without moving the user's own count of steps on.

    Readings are not committed: they go out with what the user logs next, and their charts are over ``snr/step``.
    """

    def __init__(self, given: Any) -> None:
        self._given, self._told_at = given, -1
        self._begun = self._warned = False

    def __call__(self, values: dict[str, float], step: int) -> None:
        if not self._begun and hasattr(self._given, "define_metric"):
            self._given.define_metric("snr/*", step_metric="snr/step")
        self._begun = True
        place = self._place()
        if place == self._told_at and not self._warned:
            self._warned = True
            remedy = "log more often than is measured, or give writer=lambda values, step: run.log(values)"
            _LOG.warning(
                "Monitor: nothing was logged to wandb since the last readings, so these replace them; %s", remedy
            )
        self._told_at = -1 if place is None else place
        self._given.log({**_finite(values), "snr/step": step}, commit=False)

    def _place(self) -> int | None:
        """The step that the next ``log`` belongs to; None: not to be known."""
        try:
            return int(getattr(self._given, "run", self._given).step)
        except Exception:  # wandb's own, of many kinds, as from a run that several processes share
            return None


def _named_for_mlflow(values: dict[str, float]) -> dict[str, float]:
    """Under names of what MLflow allows in them, each other character an underscore: ``K_4`` for ``K=4``."""
    return {re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII): value for name, value in values.items()}


def _scalars(given: Any, values: dict[str, float], step: int) -> None:
    for name, value in _finite(values).items():
        given.add_scalar(name, value, step)


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
