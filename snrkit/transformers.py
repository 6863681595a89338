"""A callback for Hugging Face's Trainer that measures the loss it trains; needs ``pip install "snrkit[transformers]"``."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Unpack

from snrkit.errors import CapabilityError
from snrkit.monitor.monitor import Monitor
from snrkit.monitor.options import Attached, Options, require_known

try:
    from transformers import TrainerCallback
    from transformers.integrations import get_reporting_integration_callbacks
except ImportError as error:
    raise ImportError('snrkit.transformers needs transformers: pip install "snrkit[transformers]"') from error

__all__ = ["SNRCallback"]


class SNRCallback(TrainerCallback):  # type: ignore[misc]
    """Measures along a training by Hugging Face's Trainer, after the optimiser's steps; see ``snrkit.Monitor``.

    The loss is that of the trainer's ``compute_loss``, overridden or not, with label smoothing or a ``compute_loss_func``,
    on the inputs that were last trained on, in the trainer's precision and with its logging off. With gradients accumulated
    it is that of one batch, of which a step takes the mean of several, or the sum where their items are counted together.
    Where nothing can be measured, that is warned of once, counted in ``monitor.failed``, and the training goes on.

    Args:
        loss: ``loss(model, batch)`` instead of the trainer's, as for ``measure_loss``.
        batch: inputs that are measured on; None: those of the last training step.
        every: measure at multiples of so many optimiser steps.
        to_logger: tell readings to what the trainer reports to (``report_to``), too; its ``log_history`` and the times at
            which it logs stay as they are.
        options: ``draws``, ``budget``, ``seed``, ``groups``, ``M``, ``out``, ``writer`` and others (see ``Options``).

    Attributes:
        monitor: the monitor, once a training has begun; its ``table`` has what was measured.
    """

    def __init__(
        self,
        loss: Callable[[Any, Any], Any] | None = None,
        batch: Any = None,
        *,
        every: int = 500,
        to_logger: bool = False,
        **options: Unpack[Options],
    ) -> None:
        self._loss, self._batch, self._to_logger = loss, batch, to_logger
        self._every, self._options = every, require_known(options)
        self._trainer: Any = None
        self._seen: Any = None
        self._named: dict[str, Any] = {}
        self.monitor: Monitor | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Make the monitor, and note the trainer's inputs from then on.

        Raises:
            CapabilityError: several processes train, or a trainer of another library does.
            SpecError: an option cannot be.
        """
        if args.world_size > 1:
            problem = f"{args.world_size} processes train, and each has a part of the gradient"
            raise CapabilityError(
                "trainer", problem, "measure in a training on one device, or the saved model afterwards"
            )
        self._stop_noting()  # of a training that was broken off
        options = self._options
        if self._to_logger and "writer" not in options:
            options = {**options, "writer": _Reports(_trainer_at_work(args))}
        if self._loss is None or self._batch is None:
            self._note(_trainer_at_work(args))
        name = "loss" if self._loss is None else str(getattr(self._loss, "__name__", "loss"))
        self.monitor = Attached({name: self._loss or self._own_loss}, model, self._batch, every=self._every, **options)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Measure if it is time to."""
        if self.monitor is not None and (self._batch is not None or self._seen is not None):
            self.monitor(state.global_step, None if self._batch is not None else self._seen)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Note no more inputs."""
        self._stop_noting()

    def _note(self, trainer: Any) -> None:
        """Keep what a trainer's ``compute_loss`` is last called with to train."""
        compute = trainer.compute_loss

        def compute_loss(model: Any, inputs: Any, *given: Any, **named: Any) -> Any:
            if model.training and self._trainer is not None:
                self._seen, self._named = _copied(inputs), named
            return compute(model, inputs, *given, **named)

        self._trainer, self._compute, self._noting = trainer, compute, compute_loss
        self._own = vars(trainer).get("compute_loss")
        trainer.compute_loss = compute_loss

    def _stop_noting(self) -> None:
        if self._trainer is not None and vars(self._trainer).get("compute_loss") is self._noting:
            _put_back(self._trainer, "compute_loss", self._own)
        self._trainer, self._seen, self._named = None, None, {}

    def _own_loss(self, model: Any, batch: Any) -> Any:
        # What was counted belongs to the inputs that were noted, and to no others.
        named = self._named if self._batch is None else {}
        with _silent(self._trainer):
            return self._compute(model, _copied(batch), **named)


class _Reports:
    """What a trainer reports to, without its own log, which would keep readings among its losses and put off the next."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def __call__(self, values: dict[str, float], step: int) -> None:  # noqa: ARG002 (the trainer's own)
        trainer = self._trainer
        kinds = tuple(get_reporting_integration_callbacks(trainer.args.report_to))
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for callback in trainer.callback_handler.callbacks:
            if isinstance(callback, kinds):
                callback.on_log(trainer.args, trainer.state, trainer.control, model=trainer.model, logs=dict(finite))


def _copied(inputs: Any) -> Any:
    """A copy of the mapping, since a trainer takes the labels out of it."""
    return dict(inputs) if isinstance(inputs, Mapping) else inputs


def _trainer_at_work(args: Any) -> Any:
    """The trainer that is calling, with these arguments: a callback is given everything of it but itself."""
    frame = inspect.currentframe()
    while frame is not None:
        found = frame.f_locals.get("self")
        if getattr(found, "args", None) is args and callable(getattr(found, "compute_loss", None)):
            return found
        frame = frame.f_back
    problem = "what trains is not a Trainer with a compute_loss, so that its loss and inputs are not known"
    raise CapabilityError("trainer", problem, "give both loss(model, batch) and batch")


@contextmanager
def _silent(trainer: Any) -> Iterator[None]:
    """Within the block a trainer logs nothing."""
    own = vars(trainer).get("log")
    trainer.log = _nothing
    try:
        yield
    finally:
        _put_back(trainer, "log", own)


def _put_back(trainer: Any, name: str, own: Any) -> None:
    """Let a trainer have its own attribute again, and that of its class where it had none."""
    if own is None:
        delattr(trainer, name)
    else:
        setattr(trainer, name, own)


def _nothing(*_: Any, **__: Any) -> None:
    """Stands for ``log`` while a loss is measured."""
