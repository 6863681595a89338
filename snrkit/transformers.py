"""A callback for Hugging Face's Trainer that measures the loss it trains; needs ``pip install "snrkit[transformers]"``."""

from collections.abc import Callable, Mapping
from typing import Any, Unpack

from snrkit.errors import CapabilityError, SpecError
from snrkit.monitor.monitor import Monitor
from snrkit.monitor.options import Options, require_known

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError('snrkit.transformers needs transformers: pip install "snrkit[transformers]"') from error

__all__ = ["SNRCallback"]


class SNRCallback(TrainerCallback):  # type: ignore[misc]
    """Measures along a training by Hugging Face's Trainer, after the optimiser's steps; see ``snrkit.Monitor``.

    The loss is the one that the model returns, on the inputs that it was last trained on and in the trainer's precision.
    With gradients accumulated it is that of one batch, of which a step averages several.

    Args:
        loss: ``loss(model, batch)`` instead of the model's own, as for ``measure_loss``; needed where the trainer computes
            it.
        batch: inputs that are measured on; None: those of the last training step.
        every: measure at multiples of so many optimiser steps.
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
        **options: Unpack[Options],
    ) -> None:
        self._loss, self._batch = loss, batch
        self._every, self._options = every, require_known(options)
        self._seen: Any = None
        self._hook: Any = None
        self.monitor: Monitor | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        """Make the monitor, and note the model's inputs from then on.

        Raises:
            CapabilityError: several processes train.
            SpecError: the model is compiled and no batch is given, or an option cannot be.
        """
        if args.world_size > 1:
            problem = f"{args.world_size} processes train, and each has a part of the gradient"
            raise CapabilityError(
                "trainer", problem, "measure in a training on one device, or the saved model afterwards"
            )
        self.monitor = Monitor(
            {_name(self._loss): self._loss or _own_loss}, model, self._batch, every=self._every, **self._options
        )
        if self._batch is None:
            if args.torch_compile:
                raise SpecError("batch", "inputs of a compiled model cannot be noted", "give the inputs to measure on")
            self._hook = model.register_forward_pre_hook(self._note, with_kwargs=True)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Measure if it is time to."""
        if self.monitor is not None and (self._batch is not None or self._seen is not None):
            self.monitor(state.global_step, None if self._batch is not None else self._seen)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Note no more inputs."""
        if self._hook is not None:
            self._hook.remove()
            self._hook, self._seen = None, None

    def _note(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model.training:
            self._seen = args or kwargs


def _name(loss: Any) -> str:
    return "loss" if loss is None else str(getattr(loss, "__name__", "loss"))


def _own_loss(model: Any, batch: Any) -> Any:
    found = model(**batch) if isinstance(batch, Mapping) else model(*batch)
    return found["loss"] if isinstance(found, Mapping) else found[0]
