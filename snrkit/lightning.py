"""A callback for Lightning's Trainer that measures the loss it trains; needs ``pip install "snrkit[lightning]"``."""

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Unpack

from snrkit.errors import CapabilityError, SnrkitError, SpecError
from snrkit.monitor.monitor import Monitor
from snrkit.monitor.options import Options, require_known

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

_LOG = logging.getLogger("snrkit")


class _NoLossError(SnrkitError):
    """A ``training_step`` returned None, by which Lightning lets it skip a batch."""


class SNRCallback(Callback):  # type: ignore[misc]
    """Measures along a training by Lightning's Trainer, after the optimiser's steps; see ``snrkit.Monitor``.

    The loss is that of ``training_step``, called with all logging off and in the trainer's precision. With gradients
    accumulated it is that of one batch, of which a step averages several. Where ``training_step`` returns None, by which it
    skips a batch, nothing is measured: that is warned of once, counted in ``monitor.failed``, and the training goes on.

    Args:
        loss: ``loss(module, batch)`` instead of ``training_step``, as for ``measure_loss``; needed where a module optimises
            by hand.
        batch: what is measured on; None: the batch that was just trained on.
        every: measure at multiples of so many optimiser steps.
        to_logger: tell readings to the trainer's logger too.
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
        self._warned = False

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Make the monitor.

        Raises:
            CapabilityError: several processes train.
            SpecError: the module optimises by hand and no loss is given, or an option cannot be.
        """
        if trainer.world_size > 1:
            problem = f"{trainer.world_size} processes train, and each has a part of the gradient"
            raise CapabilityError(
                "trainer", problem, "measure in a training on one device, or the saved module afterwards"
            )
        if self._loss is None and not pl_module.automatic_optimization:
            problem = "the module optimises by hand, so its training_step has no loss alone"
            raise SpecError("loss", problem, "give loss(module, batch)")
        options: Options = {**self._options, "writer": trainer.logger} if self._to_logger else self._options
        own = self._loss or _training_loss
        name = getattr(own, "__name__", "loss") if self._loss else "training_step"

        def loss(module: Any, batch: Any) -> Any:
            with _silent(trainer, module), trainer.precision_plugin.train_step_context():
                return own(module, batch)

        self.monitor = Monitor({name: loss}, pl_module, self._batch, every=self._every, **options)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        """Measure if it is time to."""
        if self.monitor is None or trainer.global_step == 0:
            return
        try:
            self.monitor(trainer.global_step, batch if self._batch is None else None)
        except _NoLossError as error:
            self.monitor.failed += 1
            if not self._warned:
                self._warned = True
                _LOG.warning("SNRCallback at step %d: %s", trainer.global_step, error)


def _training_loss(module: Any, batch: Any) -> Any:
    found = module.training_step(batch, 0) if _takes_number(module.training_step) else module.training_step(batch)
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
