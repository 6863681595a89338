"""Steps of runs for which a device has all that it needs ahead: points and noise of a block of steps, and counters.

The bounds stay on the device and are read now and then, so that neither waits for the other. What a block holds is keyed by
its first step (see ``feed``): a run that goes on within a block draws it again, and is the run that was not stopped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from snrkit.backend.graph import CapturedStep
from snrkit.training.adam import DeviceAdam
from snrkit.training.feed import Feed
from snrkit.training.state import State

# How steps are taken: each by itself, as a processor does best; over what lies ahead; and that as a captured graph.
Way = Literal["plain", "ahead", "captured"]
# Points ``[E, B, *event]``, noise ``[E, B, M K, *noise_shape]`` to gradients by run and parameter, and bounds ``[E]``.
Ascent = Callable[[Tensor, Tensor], tuple[list[list[Tensor]], Tensor]]

# Steps between two readings, at most: some tenths of a second of the fastest there are.
_UNREAD = 256


def way_on(device: torch.device) -> Way:
    """How steps are taken on a device, where the run allows it."""
    return "captured" if device.type == "cuda" else "plain"


@dataclass(frozen=True)
class Taken:
    """A step that was taken.

    Attributes:
        step: its number, counted from 0.
        points: data points in it.
        seconds: wall time, its share of that between two readings.
        bounds: of each run, nats per data point.
    """

    step: int
    points: int
    seconds: float
    bounds: list[float]


class Ahead:
    """Runs side by side, of equal shapes and at the same step, or one by itself.

    Args:
        feeds: of the runs.
        states: of the runs; the caller counts the steps.
        ascent: what a step ascends.
        adam: what moves them.
        dreams: whether noise of dreams stands behind that of the samples.
        captured: replay each step from a captured graph; else call it.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        states: Sequence[State],
        ascent: Ascent,
        adam: DeviceAdam,
        *,
        dreams: bool,
        captured: bool,
    ) -> None:
        self._feeds, self._states, self._ascent, self._adam, self._dreams = feeds, states, ascent, adam, dreams
        lead, device = feeds[0], feeds[0].device
        self._bounds = torch.zeros(lead.steps, len(feeds), dtype=lead.dtype, device=device)
        # The step's place within the epoch, and within the block.
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        self._slot = torch.zeros_like(self._row)
        self._captured = captured
        self.advance: Callable[[int], None] = self._step
        self._held: tuple[Tensor, Tensor] | None = None
        self._first = self._epoch = -1
        self._unread: list[tuple[int, int]] = []
        self._since = 0.0

    @property
    def due(self) -> bool:
        """Whether the bounds are to be read: there are many, or the epoch is at its end."""
        return len(self._unread) >= _UNREAD or self._states[0].position == self._feeds[0].steps

    def take(self) -> None:
        """Begin the coming step of every run, without waiting for its end."""
        state, feed = self._states[0], self._feeds[0]
        if not self._unread:
            self._since = time.perf_counter()
        if self._epoch != state.epoch:
            self._epoch = state.epoch
            self._row.fill_(state.position)
            self._set_rates([own.rate for own in self._states])
        if self._first != feed.first:
            self._fill()
        points = feed.points
        self.advance(points)
        self._unread.append((state.step, points))

    def read(self) -> list[Taken]:
        """The steps since the last reading, in order, when the device has done them."""
        if not self._unread:
            return []
        # Rows of this epoch, for it is read at the end of each.
        last = self._unread[-1][0] - (self._states[0].step - self._states[0].position) + 1
        rows = self._bounds[last - len(self._unread) : last].tolist()
        each = (time.perf_counter() - self._since) / (len(rows) * len(self._feeds))
        found = [Taken(step, points, each, row) for (step, points), row in zip(self._unread, rows, strict=True)]
        self._unread = []
        return found

    def _set_rates(self, rates: list[float]) -> None:
        """Rates are constants of a captured step, so it is captured again where they change, as they do between epochs."""
        if rates == self._adam.rates:
            return
        self._adam.rates = rates
        if self._captured:
            buffers = [buffer for state in self._states for buffer in state.model.buffers()]
            changed = (*self._adam.changed, self._bounds, self._row, self._slot, *buffers)
            self.advance = CapturedStep(self._step, changed)

    def _step(self, points: int) -> None:
        if self._held is None:
            raise RuntimeError("nothing lies ahead")
        x, noise = (held.index_select(0, self._slot)[0, :, :points] for held in self._held)
        gradients, bounds = self._ascent(x, noise)
        self._adam.step(gradients, bounds)
        self._bounds.index_copy_(0, self._row, bounds[None].to(self._bounds.dtype))
        self._row.add_(1)
        self._slot.add_(1)

    def _fill(self) -> None:
        """Lay out the block of the coming step, ``[ahead, E, B, ...]``, over the one before."""
        lead = self._feeds[0]
        for number, feed in enumerate(self._feeds):
            drawn = feed.block(dreams=self._dreams)
            if self._held is None:
                x, noise = (rows.new_zeros(lead.ahead, len(self._feeds), lead.size, *rows.shape[1:]) for rows in drawn)
                self._held = x, noise
            for held, rows in zip(self._held, drawn, strict=True):
                _lay(held[:, number], rows)
        self._first = lead.first
        self._slot.fill_(self._states[0].position % lead.ahead)


def _lay(held: Tensor, rows: Tensor) -> None:
    """Rows ``[n, ...]`` into ``[ahead, B, ...]``, in order; n may end within a minibatch."""
    size = held.shape[1]
    whole, rest = divmod(len(rows), size)
    held[:whole].copy_(rows[: whole * size].view(whole, size, *rows.shape[1:]))
    if rest:
        held[whole, :rest].copy_(rows[whole * size :])
