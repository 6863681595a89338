"""How factors are summed over draws: in tiles that fit a processor's cache, or as many at once as a GPU's memory allows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from snrkit.diagnostics.engines.base import PassSize
from snrkit.diagnostics.engines.many import PointSums
from snrkit.diagnostics.engines.stacked import StackedSums
from snrkit.diagnostics.engines.sums import LayerSums
from snrkit.diagnostics.engines.taps import Sink

# Cotangents of the proposal that go back through the encoder at once, where a processor's cache decides.
_ROWS = 512


class GradientSums(Protocol):
    """What gathers the moments of the gradients of linear layers over draws of one or several data points."""

    def add(self, sinks: Sequence[Sink], draws: int) -> None:
        """Add the layer calls of so many draws of each point, point by point."""

    def moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Name to (mean, m2), each ``[p, *shape]``, float64."""


@dataclass(frozen=True)
class Way:
    """How factors are summed. Both ways give the same moments but for rounding.

    Attributes:
        name: what it is called.
        sums: parameters by name, the number of data points that share a pass (None: one, by itself) and what a pass holds,
            to what gathers the decoder's moments.
        encoder_rows: what a pass holds to how many cotangents go back through the encoder at once.
    """

    name: str
    sums: Callable[[dict[str, Tensor], int | None, PassSize], GradientSums]
    encoder_rows: Callable[[PassSize], int]


def _in_tiles(parameters: dict[str, Tensor], points: int | None, size: PassSize) -> GradientSums:  # noqa: ARG001
    return LayerSums(parameters) if points is None else PointSums(points)


def _at_once(parameters: dict[str, Tensor], points: int | None, size: PassSize) -> GradientSums:  # noqa: ARG001
    return StackedSums(points or 1, size.units)


IN_TILES = Way("in tiles", _in_tiles, lambda size: _ROWS)  # noqa: ARG005
AT_ONCE = Way("at once", _at_once, lambda size: max(_ROWS, size.samples))


def way_of(device: torch.device) -> Way:
    """The faster way there. What ``AT_ONCE`` gains on a GPU is in ``analyses/speed/RESULTS.md``, where one was measured."""
    return AT_ONCE if device.type == "cuda" else IN_TILES
