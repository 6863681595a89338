"""Draws of models that draw random numbers themselves, as dropout does in training mode, or that keep something."""

from collections.abc import Iterator
from contextlib import contextmanager

from snrkit.backend.process import seed_generators
from snrkit.core.objective import NoiseKind
from snrkit.core.streams import Streams
from snrkit.models.state import Snapshot

_PURPOSES: dict[NoiseKind, str] = {"shared": "inner", "own": "inner-inference"}


class Seeding:
    """The global generators of torch, numpy and ``random`` as a function of the draw, and the model's state with them.

    Whoever uses it puts both back in the end (see ``models.state.unchanged``).

    Args:
        streams: root of the seeds.
        M: outer samples of a draw.
        K: importance samples.
        start: the model's state (running statistics, counters) from which every draw is made.
        noise: whose draws.
    """

    def __init__(self, streams: Streams, M: int, K: int, start: Snapshot, noise: NoiseKind = "shared") -> None:
        self._streams, self._M, self._K, self._start = streams, M, K, start
        self._purpose = _PURPOSES[noise]

    @contextmanager
    def at(self, group: int, draw: int) -> Iterator[None]:
        """The block draws the numbers of one draw of a group, from that state."""
        self._start.restore()
        seed_generators(self._streams.integer(self._purpose, self._M, self._K, group, draw))
        yield
