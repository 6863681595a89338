"""Draws of models that draw random numbers themselves, as dropout does in training mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from snrkit.models.base import LatentModel
from snrkit.models.state import Generators, Snapshot, seed_generators
from snrkit.streams import Streams


class Seeding:
    """The global generators of torch, numpy and ``random`` as a function of the draw, and the model's state with them.

    Args:
        streams: root of the seeds.
        M: outer samples of a draw.
        K: importance samples.
        model: the model; what it keeps (running statistics, counters) is put back before every draw.
    """

    def __init__(self, streams: Streams, M: int, K: int, model: LatentModel) -> None:
        self._streams, self._M, self._K, self._model = streams, M, K, model
        self._snapshot = Snapshot(model)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Afterwards the generators and the model are as they were at the start of the block."""
        generators, snapshot = Generators(self._model), Snapshot(self._model)
        try:
            yield
        finally:
            snapshot.restore()
            generators.restore()

    @contextmanager
    def at(self, group: int, draw: int) -> Iterator[None]:
        """The block draws the numbers of one draw of a group, from the state that the model had when this was made."""
        self._snapshot.restore()
        seed_generators(self._streams.integer("inner", self._M, self._K, group, draw))
        yield
