"""Quartiles of many rows at once, by selection: several times faster than sorting, and the same numbers."""

import numpy as np

from snrkit.diagnostics.arrays.base import QUARTILES, Segments
from snrkit.types import Array

# Columns up to which sorting all rows in one call is faster than selecting in each.
_SORTED = 256
# Numbers below which there is no quarter to select in.
_FEW = 8


def quartiles(values: Array, counts: Array, segments: Segments) -> Array:
    """Quartiles over each block of coordinates of its smallest numbers, interpolated as ``numpy.quantile`` does.

    Args:
        values: ``[S, P]``; their order is lost, unless blocks overlap in part.
        counts: how many of the smallest numbers count, ``[S, blocks]``; the others are +inf.
        segments: the blocks.

    Returns:
        ``[S, blocks, 3]``, NaN where none counts.
    """
    found = np.full((len(values), len(segments.blocks), len(QUARTILES)), np.nan)
    # Small blocks first: another order within a block changes nothing for those that contain it.
    for number in sorted(range(len(segments.blocks)), key=lambda i: segments.blocks[i].stop - segments.blocks[i].start):
        inside = values[:, segments.blocks[number]]
        own = inside if segments.nested else inside.copy()
        found[:, number] = _quartiles(own, counts[:, number].astype(np.int64))
    return found


def _quartiles(values: Array, counts: Array) -> Array:
    """Quartiles ``[S, 3]`` of the ``counts`` smallest numbers in each row of ``[S, p]``, whose order is lost."""
    if values.shape[1] <= _SORTED:
        values.sort(axis=1)
        return _of_sorted(values, counts)
    found: Array = np.stack([_of_row(row, int(count)) for row, count in zip(values, counts, strict=True)])
    return found


def _of_sorted(values: Array, counts: Array) -> Array:
    positions = np.maximum(counts - 1, 0)[:, None] * QUARTILES
    lower = positions.astype(np.int64)
    upper = np.minimum(lower + 1, np.maximum(counts - 1, 0)[:, None])
    if values.shape[1] == 0:
        return np.full(positions.shape, np.nan)
    low, high = (np.take_along_axis(values, index, axis=1) for index in (lower, upper))
    with np.errstate(invalid="ignore"):  # infinite where nothing counts
        between = (high - low) * (positions - lower) + low
    found: Array = np.where(counts[:, None] > 0, between, np.nan)
    return found


def _of_row(row: Array, count: int) -> Array:
    """Quartiles of the smallest numbers of a row, by selection within selections."""
    if count < _FEW:
        row.sort()
        few: Array = _of_sorted(row[None], np.array([count]))[0]
        return few
    positions = (count - 1) * QUARTILES
    first, second, third = (int(position) for position in positions)
    row.partition(second)
    left, right = row[:second], row[second + 1 :]
    left.partition(first)
    right.partition(third - second - 1)
    low = np.array([left[first], row[second], row[third]])
    # The next larger one: the smallest of those behind, up to the next one selected.
    after = [
        left[first + 1 :].min(initial=row[second]),
        right[: third - second].min(),
        row[third + 1 :].min(initial=np.inf),
    ]
    weights = positions - np.array([first, second, third])
    high = np.where(weights > 0, after, low)
    between: Array = (high - low) * weights + low
    return between
