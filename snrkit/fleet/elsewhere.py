"""Workers, and how a model gets to them: what whoever has work done elsewhere is given."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from snrkit.fleet.dispatch import Dispatch
from snrkit.fleet.fleet import Fleet, fleet_of
from snrkit.fleet.models import Recipe, Send, packed, pickled, to_bytes
from snrkit.fleet.orders import Cargo
from snrkit.specs.given import whole


@dataclass(frozen=True)
class Elsewhere:
    """Where work is done that is not done here.

    Attributes:
        fleet: the workers.
        recipe: what builds the model there; None: nothing that is known does.
    """

    fleet: Fleet
    recipe: Recipe | None = None

    def cargo(self, content: Mapping[str, Any], model: nn.Module, device: torch.device, opener: str) -> Cargo:
        """A model, and what goes with it.

        Args:
            content: plain values and tensors.
            model: under the key ``model``.
            device: the kind of device that workers are to have it on.
            opener: makes something of them there.

        Raises:
            SpecError: the model cannot be sent.
        """
        sent = packed(model, self.recipe, self.fleet.send, device)
        return Cargo.of(to_bytes({**content, "model": sent}), opener)

    @contextmanager
    def dispatch(self, library: str, stop: Callable[[], bool] = lambda: False) -> Iterator[Dispatch]:
        """Hands out orders within the block, to workers of as many threads as torch takes here; then gives up the rest."""
        made = self.orders(library, stop)
        try:
            yield made
        finally:
            made.cancel()

    def orders(self, library: str, stop: Callable[[], bool]) -> Dispatch:
        """Hands out orders until it is told to ``cancel``.

        Args:
            library: that products take.
            stop: asked while results are waited for.
        """
        pack = partial(pickled, "estimators") if self.fleet.send == "cloudpickle" else pickle.dumps
        return Dispatch(self.fleet.hands, torch.get_num_threads(), library, stop, pack)


def elsewhere(executor: Any, send: Send = "specification", recipe: Recipe | None = None) -> Elsewhere | None:
    """Where an executor works; None where there is none. Arguments and errors as for ``fleet_of``."""
    fleet = fleet_of(executor, send)
    return None if fleet is None else Elsewhere(fleet, recipe)


def threads_of(threads: int | None, by: Elsewhere | None = None) -> int | None:
    """How many threads of the processor the caller of a function asked for; None: as many as torch takes anyway.

    Args:
        threads: as given; None: 1 of a worker, else as torch decides.
        by: workers; None: this process.

    Raises:
        SpecError: it is no whole number of at least 1.
    """
    if threads is None:
        return None if by is None else 1
    return whole("threads", threads, 1, "give how many")
