"""What readings are made of: sums, quantiles and inner products over blocks of coordinates, of blocks of draws merged."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from snrkit.types import Array, Mask

if TYPE_CHECKING:
    import torch

# Differences of sums of squares are zero but for the rounding of float64 if so many eps of the sums.
ROUNDING = 8 * float(np.finfo(np.float64).eps)
# Of an even number of coordinates two are as near to the median as each other, but for rounding: the first is taken.
TIED = 1 + 1e-9
QUARTILES = np.array([0.25, 0.5, 0.75])


@dataclass(frozen=True)
class Selection:
    """Selections of blocks of draws.

    Attributes:
        rows: 1 or 0 for each block, ``[S, G]``.
        counts: draws of each block, ``[G]``.
    """

    rows: Array
    counts: Array
    draws: Array = field(init=False)
    shares: Array = field(init=False)

    def __post_init__(self) -> None:
        weights = self.rows * self.counts
        draws = weights.sum(axis=1, keepdims=True)
        object.__setattr__(self, "draws", draws)  # [S, 1]
        object.__setattr__(self, "shares", weights / draws)  # [S, G]

    def part(self, rows: slice) -> "Selection":
        """Some of the selections."""
        return Selection(self.rows[rows], self.counts)

    def __len__(self) -> int:
        return len(self.rows)


class Segments:
    """Blocks of coordinates, cut into pieces that do not overlap, so that what adds up is computed once.

    Args:
        blocks: the blocks; they may contain one another.

    Attributes:
        blocks: as given.
        pieces: disjoint, in order; each block is a run of them. An empty one where all blocks are empty.
        nested: whether of any two blocks one contains the other or they are disjoint.
    """

    def __init__(self, blocks: Iterable[slice]) -> None:
        self.blocks = tuple(blocks)
        edges = sorted({edge for block in self.blocks for edge in (block.start, block.stop)})
        every = [slice(start, stop) for start, stop in itertools.pairwise(edges)]
        inside = np.zeros(len(every) + 1, dtype=np.int64)
        for block in self.blocks:
            inside[edges.index(block.start)] += 1
            inside[edges.index(block.stop)] -= 1
        used = np.cumsum(inside)[:-1] > 0
        self.pieces = tuple(piece for piece, wanted in zip(every, used, strict=True) if wanted) or (slice(0, 0),)
        starts, stops = [piece.start for piece in self.pieces], [piece.stop for piece in self.pieces]
        self._runs = [
            slice(starts.index(block.start), stops.index(block.stop) + 1) if block.stop > block.start else slice(0, 0)
            for block in self.blocks
        ]
        self.nested = _nested(self.blocks)

    def over(self, values: Array) -> Array:
        """What adds up, from pieces to blocks: ``[pieces, ...]`` to ``[blocks, ...]``."""
        return np.stack([values[run].sum(axis=0) for run in self._runs])

    def bounded(self, size: int) -> list[tuple[int, slice]]:
        """The pieces in parts of at most so many coordinates, each with the piece's number."""
        return [
            (number, slice(start, min(start + size, piece.stop)))
            for number, piece in enumerate(self.pieces)
            for start in range(piece.start, max(piece.stop, piece.start + 1), size)
        ]


def _nested(blocks: Iterable[slice]) -> bool:
    open_: list[slice] = []
    for block in sorted(blocks, key=lambda block: (block.start, -block.stop)):
        while open_ and open_[-1].stop <= block.start:
            open_.pop()
        if open_ and block.stop > open_[-1].stop:
            return False
        open_.append(block)
    return True


@dataclass(frozen=True)
class Totals:
    """Sums over blocks of coordinates; the first selection says which coordinates vary.

    Attributes:
        trace: of the variance of a draw, ``[S, blocks]``.
        norm: signed squared norm of the mean: of m^2 less the variance of the estimate m, ``[S, blocks]``.
        signed: the same over coordinates that vary, ``[S, blocks]``.
        moving: how many those are, ``[blocks]``.
        of_mean: trace of the variance of the estimate of the mean, from the first selection, ``[blocks]``.
        typical: sum over coordinates that vary of the standard error of the mean over the standard deviation, from the first
            selection, ``[blocks]``.
    """

    trace: Array
    norm: Array
    signed: Array
    moving: Array
    of_mean: Array
    typical: Array


@dataclass(frozen=True)
class Products:
    """Inner products of the block means of an estimator and of its target, ``[G, G]`` each.

    Attributes:
        own: of the estimator's with one another.
        target: of the target's.
        mixed: of the estimator's with the target's.
        apart: of their differences, which are taken before the products, so that digits do not cancel.
    """

    own: Array
    target: Array
    mixed: Array
    apart: Array


class BlockArrays(Protocol):
    """Means and sums of squares of G blocks of draws, P coordinates each, where they lie.

    All that is returned lies on the host, but ``means``. Means are kept as offsets ``[G, P]`` from an origin ``[P]``, sums
    of squares about the origin. Where another's means are lent, it has as many blocks and lies in the same place.
    """

    @property
    def size(self) -> int:
        """P, the number of coordinates."""

    @property
    def place(self) -> "torch.device | None":
        """The device where they lie; None: on the host, as numpy's."""

    def first(self, blocks: int) -> Self:
        """The first blocks alone."""

    def still(self, zero: Mask, constant: Mask) -> None:
        """Take from some coordinates ``[P]`` all variation, and from those that are zero the mean too."""

    def origin(self, part: slice) -> Array:
        """The origin of some coordinates, ``[p]``."""

    def offsets(self, part: slice) -> Array:
        """Offsets of some coordinates, ``[G, p]``."""

    def squares(self, block: int, part: slice) -> Array:
        """Sums of squares about the origin in one block, ``[p]``."""

    def means(self, part: slice) -> "torch.Tensor":
        """Block means of some coordinates, ``[G, p]``, where they lie."""

    def merged(self, chosen: Selection) -> tuple[Array, Array]:
        """Mean and variance of a draw (divisor R - 1) of each selection, ``[S, P]`` each.

        Of a coordinate that varies in other blocks only, rounding is no variance.
        """

    def ratios(self, chosen: Selection, means: Self | None, segments: Segments) -> Array:
        """Mean and quartiles over the coordinates of a block that vary of |m|/s: ``[S, blocks, 4]``; NaN where none does."""

    def totals(self, chosen: Selection, means: Self | None, segments: Segments) -> Totals:
        """Sums over the coordinates of each block."""

    def gram(self, segments: Segments) -> tuple[Array, Array]:
        """Inner products over each block of coordinates, of block means and of centred ones: ``[blocks, G, G]`` each.

        What is centred is less the mean over all draws, times the root of the draws of its block.
        """

    def products(self, target: Self, segments: Segments) -> list[Products]:
        """Inner products over each block of block means with one another and with a target's."""

    def notable(self, block: slice) -> tuple[int, int]:
        """Numbers within a block of the coordinates with the largest |m| and with the median |m|/s.

        That is the one nearest to the median of those that vary; the first where none does.
        """
