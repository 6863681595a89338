"""Epochs of steps. Every random number is a function of (seed, step), so a resumed run is bit-identical."""

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from snrkit.backend.kernels import same_convolutions
from snrkit.backend.precision import products
from snrkit.interrupt import Interrupted
from snrkit.specs.run import RunSpec
from snrkit.types import Progress

Stopped = Callable[[], bool]


def nothing(*_: object) -> None:
    """What to do at the end of an epoch: nothing."""


class Crew(Protocol):
    """What is trained step by step: one run, or several side by side."""

    spec: RunSpec
    steps: int
    device: torch.device

    @property
    def epoch(self) -> int:
        """Finished epochs."""

    @property
    def step(self) -> int:
        """Optimiser steps done."""

    @property
    def position(self) -> int:
        """Steps done within the unfinished epoch."""

    def begin_epoch(self) -> None:
        """Set the learning rate and the order of the data points."""

    def take_step(self) -> None:
        """One optimiser step and its bookkeeping."""

    def finish_epoch(self) -> None:
        """Note the epoch's metrics."""

    def report(self, progress: Progress) -> None:
        """Tell how far it is."""

    def keep(self) -> None:
        """Write a checkpoint that stays."""

    def save(self) -> None:
        """Write the checkpoint to go on from."""


C = TypeVar("C", bound=Crew)


def run_epochs(crew: C, stopped: Stopped, progress: Progress, observe: Callable[[C, Stopped], None]) -> None:
    """Train until ``spec.epochs`` are done, saving at the beginning, every ``checkpoint_every`` epochs and at the end.

    Args:
        crew: what to train.
        stopped: asked after every step whether to stop.
        progress: called after every step with (done, total, note).
        observe: called with the crew and ``stopped`` after the last step of every epoch, before the epoch is counted. Where
            it raises, the state is saved as it stands, and a resumed run calls it again.

    Raises:
        NonFiniteError: a bound or a parameter became NaN or infinite; the last checkpoint is kept.
        Interrupted: a stop was asked for; the state is saved.
    """
    if crew.epoch == crew.step == crew.position == 0:
        crew.save()
    while crew.epoch < crew.spec.epochs:
        crew.begin_epoch()
        while crew.position < crew.steps:
            with same_convolutions(), products(crew.spec.precision, crew.device):
                crew.take_step()
            crew.report(progress)
            if stopped():
                crew.save()
                raise Interrupted
        try:
            observe(crew, stopped)
        except BaseException:
            # What was trained is not given up for a measurement.
            crew.save()
            raise
        crew.finish_epoch()
        if crew.spec.keep_every and crew.epoch % crew.spec.keep_every == 0:
            crew.keep()
        if crew.epoch % crew.spec.checkpoint_every == 0 and crew.epoch < crew.spec.epochs:
            crew.save()
    crew.save()
