"""Coordinates that are zero in every draw, such as weights of dark pixels: they add to no reading but their number."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from snrkit.diagnostics.arrays.base import Segments
from snrkit.types import Array, Indices

# Share of such coordinates from which on it pays to leave them out.
_WORTH = 1 / 16
_EVERY = slice(None)


class Kept:
    """The other coordinates, among P.

    Args:
        size: P.
        indices: theirs, in order; None: all are kept.
    """

    def __init__(self, size: int, indices: Indices | None = None) -> None:
        self.size, self.indices = size, indices

    @classmethod
    def of(cls, rows: Sequence[Array]) -> Self:
        """Coordinates that are not zero in all rows, ``[P]`` each; all of them where few are."""
        found = np.zeros(len(rows[0]), dtype=np.bool_)
        for row in rows:
            found |= row != 0
            if found.all():
                break
        few = np.count_nonzero(found) > (1 - _WORTH) * len(found)
        return cls(len(found), None if few else np.flatnonzero(found))

    def same(self, other: "Kept") -> bool:
        """Whether both keep the same coordinates."""
        if self.indices is None or other.indices is None:
            return self.indices is other.indices
        return np.array_equal(self.indices, other.indices)

    def take(self, row: Array, part: slice = _EVERY) -> Array:
        """Some of the kept ones of all coordinates ``[P]``; left out: all of them, ``[p]``."""
        return row[part if self.indices is None else self.indices[part]]

    def within(self, part: slice) -> slice:
        """Where the kept ones among some coordinates stand."""
        if self.indices is None:
            return part
        start, stop = np.searchsorted(self.indices, part.indices(self.size)[:2])
        return slice(int(start), int(stop))

    def spread(self, values: Array, part: slice) -> Array:
        """Kept ones of some coordinates among them, zero elsewhere: ``[..., p]`` to ``[..., part]``."""
        if self.indices is None:
            return values
        first, last, _ = part.indices(self.size)
        found = np.zeros((*values.shape[:-1], last - first))
        found[..., self.indices[self.within(part)] - first] = values
        return found

    def segments(self, segments: Segments) -> Segments:
        """The same blocks, of kept coordinates alone."""
        return segments if self.indices is None else Segments(self.within(block) for block in segments.blocks)
