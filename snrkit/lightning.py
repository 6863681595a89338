"""A callback for Lightning's Trainer that measures the loss it trains; needs ``pip install "snrkit[lightning]"``."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from snrkit.errors import CapabilityError, SnrkitError, SpecError
from snrkit.monitor.monitor import Monitor
from snrkit.monitor.options import Attached, Options, require_known

try:
    from lightning.pytorch import Callback
    from lightning.pytorch.loggers.logger import DummyLogger
except ImportError:
    try:
        from pytorch_lightning import Callback
        from pytorch_lightning.loggers.logger import DummyLogger
    except ImportError as error:
        raise ImportError('snrkit.lightning needs Lightning: pip install "snrkit[lightning]"') from error

__all__ = ["SNRCallback"]


class _NoLossError(SnrkitError):
    """A ``training_step`` returned None, by which Lightning lets it skip a batch."""


class SNRCallback(Callback):  # type: ignore[misc]
    """Measures along a training by Lightning's Trainer, after the optimiser's steps; see ``snrkit.Monitor``.

    The loss is that of ``training_step``, called with all logging off, in the trainer's precision, and with the number of
    the batch that was just trained on. With gradients accumulated it is that of one batch, of which a step averages several.
    Where nothing can be measured, as where ``training_step`` returns None, by which it skips a batch, that is warned of
    once, counted in ``monitor.failed``, and the training goes on.

    Args:
        loss: ``loss(module, batch)`` instead of ``training_step``, as for ``measure_loss``; needed where a module optimises
            by hand.
        batch: what is measured on; None: the batch that was just trained on.
        every: measure at multiples of so many optimiser steps.
        to_logger: tell readings to the trainer's loggers too.
        options: ``draws``, ``budget``, ``seed``, ``groups``, ``M``, ``out`` and others of ``Monitor`` (see ``Options``).

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
        self.monitor: Monitor | None = None
        self._number = 0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the monitor.

        Raises:
            CapabilityError: several processes train.
            SpecError: the module optimises by hand or takes its batches itself and no loss is given, or an option cannot be.
        """
        if trainer.world_size > 1:
            problem = f"{trainer.world_size} processes train, and each has a part of the gradient"
            raise CapabilityError(
                "trainer", problem, "measure in a training on one device, or the saved module afterwards"
            )
        if self._loss is None:
            _require_step(pl_module)
        options = self._options
        if self._to_logger and "writer" not in options:
            options = {**options, "writer": _Loggers(trainer)}
        own = self._loss or (lambda module, batch: _training_loss(module, batch, self._number))
        name = getattr(own, "__name__", "loss") if self._loss else "training_step"

        def loss(module: Any, batch: Any) -> Any:
            with _silent(trainer, module), trainer.precision_plugin.train_step_context():
                return own(module, batch)

        self.monitor = Attached({name: loss}, pl_module, self._batch, every=self._every, **options)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Measure if it is time to."""
        if self.monitor is not None and trainer.global_step > 0:
            self._number = batch_idx
            self.monitor(trainer.global_step, batch if self._batch is None else None)


class _Loggers:
    """The loggers that a trainer has by the time, as one."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        """Tell each of them."""
        for logger in self._trainer.loggers:
            logger.log_metrics(values, step=step)


def _require_step(module: Any) -> None:
    if not module.automatic_optimization:
        problem = "the module optimises by hand, so its training_step has no loss alone"
        raise SpecError("loss", problem, "give loss(module, batch)")
    if "dataloader_iter" in inspect.signature(module.training_step).parameters:
        problem = "training_step takes its batches from an iterator itself, which measuring would use up"
        raise SpecError("loss", problem, "give loss(module, batch), and a batch")


def _training_loss(module: Any, batch: Any, number: int) -> Any:
    step = module.training_step
    found = step(batch, number) if _takes_number(step) else step(batch)
    loss = found["loss"] if isinstance(found, dict) else found
    if loss is None:
        problem = "returns None for the batch that is measured, so there is no loss"
        raise _NoLossError("training_step", problem, "give a batch that it does not skip: SNRCallback(batch=...)")
    return loss


def _takes_number(step: Callable[..., Any]) -> bool:
    """Whether a ``training_step`` takes the batch's number, which Lightning lets it leave out."""
    try:
        inspect.signature(step).bind(None, 0)
    except TypeError:
        return False
    return True


@contextmanager
def _silent(trainer: Any, module: Any) -> Iterator[None]:
    """Within the block a module logs nothing, and what it tells its logger itself goes nowhere."""
    loggers = trainer.loggers
    module.__dict__.update({"log": _nothing, "log_dict": _nothing, "print": _nothing})
    trainer.loggers = [DummyLogger() for _ in loggers]
    try:
        yield
    finally:
        trainer.loggers = loggers
        for name in ("log", "log_dict", "print"):
            module.__dict__.pop(name, None)


def _nothing(*_: Any, **__: Any) -> None:
    """Stands for ``log`` while a module is measured."""
