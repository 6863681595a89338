"""The arrays behind moments in numpy: by chunks of coordinates that stay in cache, on as many threads as torch may use."""

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from snrkit.diagnostics.arrays.base import ROUNDING, TIED, Products, Segments, Selection, Totals
from snrkit.diagnostics.arrays.device import DeviceArrays
from snrkit.diagnostics.arrays.kept import Kept
from snrkit.diagnostics.arrays.quartiles import quartiles
from snrkit.diagnostics.arrays.threads import each, portions
from snrkit.types import Array, Mask

# Numbers of an intermediate result in a chunk; a few of them stay in a core's own cache.
_CHUNK = 2**15
# Multiply-adds in one matrix product: more, and OpenBLAS starts threads of its own, which get in the way of ours.
_PRODUCT = 2**18
# Numbers to work on below which threads are not worth their start.
_WORTH_THREADS = 2**18
# Numbers of merged ratios that are held at once; of many coordinates, as many as the offsets have.
_HELD = 2**19


class HostArrays:
    """See ``BlockArrays``.

    What is zero in all draws is left out: p of P coordinates are kept.

    Args:
        counts: draws of each block, ``[G]``.
        origin: origin of the means, ``[p]``.
        offsets: of the block means from it, ``[G, p]``.
        squares: sums of squares about the origin, ``[G, p]``.
        kept: which coordinates these are.
    """

    def __init__(self, counts: Array, origin: Array, offsets: Array, squares: Array, kept: Kept) -> None:
        self._counts, self._origin, self._offsets, self._squares = counts, origin, offsets, squares
        self._kept = kept

    @classmethod
    def of(cls, counts: Array, means: Sequence[Array], variances: Sequence[Array]) -> Self:
        """The arrays of blocks with these means and variances of a draw, ``[P]`` each."""
        # Relative to the first block, so that equal means differ by exactly zero.
        kept = Kept.of([*means, *variances])
        origin = kept.take(means[0])
        offsets, squares = (np.empty((len(means), len(origin))) for _ in range(2))

        def chunk(item: tuple[int, slice]) -> None:
            _, part = item
            rows = zip(counts, means, variances, offsets[:, part], squares[:, part], strict=True)
            for count, mean, variance, offset, square in rows:
                np.subtract(kept.take(mean, part), origin[part], out=offset)
                np.square(offset, out=square)
                np.multiply(square, count, out=square)
                np.add(square, kept.take(variance, part) * (count - 1), out=square)

        each(chunk, Segments([slice(0, len(origin))]).bounded(_CHUNK), _threads(offsets.size))
        return cls(counts, origin, offsets, squares, kept)

    def on(self, device: torch.device) -> DeviceArrays:
        """The same as tensors on a device."""
        own = self._whole()
        origin, offsets, squares = (
            torch.from_numpy(array).to(device) for array in (own._origin, own._offsets, own._squares)
        )
        return DeviceArrays(self._counts, origin, offsets, squares)

    def _whole(self) -> Self:
        """The same with all coordinates."""
        every = slice(0, self.size)
        origin, offsets, squares = (
            self._kept.spread(array, every) for array in (self._origin, self._offsets, self._squares)
        )
        return type(self)(self._counts, origin, offsets, squares, Kept(self.size))

    def _with(self, other: Self | None) -> tuple[Self, Self | None]:
        """Both with the same coordinates."""
        if other is None or self._kept.same(other._kept):
            return self, other
        return self._whole(), other._whole()

    @property
    def size(self) -> int:
        """P, the number of coordinates."""
        return self._kept.size

    @property
    def place(self) -> None:
        """None: on the host."""
        return

    def first(self, blocks: int) -> Self:
        """The first blocks alone."""
        offsets, squares = self._offsets[:blocks], self._squares[:blocks]
        return type(self)(self._counts[:blocks], self._origin, offsets, squares, self._kept)

    def still(self, zero: Mask, constant: Mask) -> None:
        """Take from some coordinates ``[P]`` all variation, and from those that are zero the mean too."""
        zero, none = (
            mask if self._kept.indices is None else mask[self._kept.indices] for mask in (zero, zero | constant)
        )
        (mean,), _ = self._estimates(self._every())
        self._origin = np.where(zero, 0.0, np.where(none, mean, self._origin))
        for row in (*self._offsets, *self._squares):
            np.copyto(row, 0.0, where=none)

    def origin(self, part: slice) -> Array:
        """The origin of some coordinates, ``[n]``."""
        return self._kept.spread(self._origin[self._kept.within(part)], part)

    def offsets(self, part: slice) -> Array:
        """Offsets of some coordinates, ``[G, n]``."""
        return self._kept.spread(self._offsets[:, self._kept.within(part)], part)

    def squares(self, block: int, part: slice) -> Array:
        """Sums of squares about the origin in one block, ``[n]``."""
        return self._kept.spread(self._squares[block, self._kept.within(part)], part)

    def means(self, part: slice) -> Tensor:
        """Block means of some coordinates, ``[G, n]``."""
        return torch.from_numpy(self.origin(part) + self.offsets(part))

    def merged(self, chosen: Selection) -> tuple[Array, Array]:
        """Mean and variance of a draw of each selection, ``[S, P]`` each."""
        mean, variance = (self._kept.spread(array, slice(0, self.size)) for array in self._estimates(chosen))
        return mean, variance

    def _every(self) -> Selection:
        return Selection(np.ones((1, len(self._counts))), self._counts)

    def _estimates(self, chosen: Selection) -> tuple[Array, Array]:
        """Mean and variance, ``[S, p]`` each."""
        mean, variance = (np.empty((len(chosen), len(self._origin))) for _ in range(2))
        for _, part in Segments([slice(0, len(self._origin))]).bounded(self._width(len(chosen))):
            mean[:, part], variance[:, part] = self._merged(chosen, part)
        return mean, variance

    def _merged(self, chosen: Selection, part: slice) -> tuple[Array, Array]:
        """Mean and variance of a chunk, ``[S, p]`` each; the variance is zero of what does not vary."""
        mean, squares = _product(chosen.shares, self._offsets[:, part]), _product(chosen.rows, self._squares[:, part])
        variance = mean * mean
        variance *= chosen.draws
        np.subtract(squares, variance, out=variance)
        squares *= ROUNDING
        np.copyto(variance, 0.0, where=variance <= squares)
        variance /= chosen.draws - 1
        mean += self._origin[part]
        return mean, variance

    def ratios(self, chosen: Selection, means: Self | None, segments: Segments) -> Array:
        """Mean and quartiles over the coordinates of a block that vary of |m|/s: ``[S, blocks, 4]``."""
        own, means = self._with(means)
        own_segments = own._kept.segments(segments)
        rows = max(1, len(self._counts), _HELD // max(1, len(own._origin)))
        groups = np.array_split(np.arange(len(chosen)), -(-len(chosen) // rows))
        parts = [chosen.part(slice(group[0], group[-1] + 1)) for group in groups]
        values = np.empty((max(map(len, parts)), len(own._origin)))
        return np.concatenate([own._ratios(part, means, own_segments, values[: len(part)]) for part in parts])

    def _ratios(self, chosen: Selection, means: Self | None, segments: Segments, values: Array) -> Array:
        def chunk(item: tuple[int, slice]) -> Array:
            _, part = item
            mean, variance = self._merged(chosen, part)
            lent = mean if means is None else means._merged(Selection(chosen.rows, means._counts), part)[0]
            found = values[:, part]
            still = variance == 0
            counts = still.shape[1] - np.count_nonzero(still, axis=1)
            np.abs(lent, out=lent)
            np.sqrt(variance, out=variance)
            if counts.min() == still.shape[1]:
                np.divide(lent, variance, out=found)
                return np.stack([counts, found.sum(axis=1)], axis=1)
            np.copyto(variance, 1.0, where=still)
            np.divide(lent, variance, out=found)
            np.copyto(found, 0.0, where=still)
            sums = found.sum(axis=1)
            np.copyto(found, np.inf, where=still)  # behind all others where they are in order
            return np.stack([counts, sums], axis=1)

        threads = _threads(values.size)
        both = self._summed(chunk, segments, self._width(len(chosen)), threads)  # [blocks, S, 2]
        counts, sums = np.moveaxis(both, 2, 0)

        def few(rows: range) -> Array:
            own = slice(rows.start, rows.stop)
            return quartiles(values[own], counts[:, own].T, segments)

        quantiles = np.concatenate(each(few, portions(len(chosen), threads), threads))
        with np.errstate(invalid="ignore"):
            return np.concatenate([(sums / counts).T[..., None], quantiles], axis=2)

    def totals(self, chosen: Selection, means: Self | None, segments: Segments) -> Totals:
        """Sums over the coordinates of each block."""
        own, means = self._with(means)
        return own._totals(chosen, means, own._kept.segments(segments))

    def _totals(self, chosen: Selection, means: Self | None, segments: Segments) -> Totals:
        def chunk(item: tuple[int, slice]) -> Array:
            _, part = item
            mean, variance = self._merged(chosen, part)
            if means is None:
                of_mean = variance / chosen.draws
            else:
                lent = Selection(chosen.rows, means._counts)
                mean, of_mean = means._merged(lent, part)
                of_mean /= lent.draws
            moving = variance[0] > 0
            typical = np.sqrt(of_mean[0, moving] / variance[0, moving]).sum()
            whole = np.array([np.count_nonzero(moving), of_mean[0].sum(), typical])
            mean *= mean
            mean -= of_mean
            norm = mean.sum(axis=1)
            signed = norm if moving.all() else mean[:, moving].sum(axis=1)
            return np.column_stack([variance.sum(axis=1), norm, signed, np.broadcast_to(whole, (len(mean), 3))])

        found = self._summed(chunk, segments, self._width(len(chosen)), _threads(len(chosen) * len(self._origin)))
        trace, norm, signed = (found[:, :, i].T for i in range(3))
        moving, of_mean, typical = (found[:, 0, i] for i in range(3, 6))
        return Totals(trace, norm, signed, moving, of_mean, typical)

    def gram(self, segments: Segments) -> tuple[Array, Array]:
        """Inner products over each block of block means, and of what is left of them less their mean."""
        shares, roots = self._counts / self._counts.sum(), np.sqrt(self._counts)[:, None]

        def chunk(item: tuple[int, slice]) -> Array:
            _, part = item
            offsets = self._offsets[:, part]
            centred = offsets - shares @ offsets
            centred *= roots
            means = offsets + self._origin[part]
            return np.stack([means @ means.T, centred @ centred.T])

        own = self._kept.segments(segments)
        found = self._summed(chunk, own, self._square, _threads(2 * self._offsets.size))
        return found[:, 0], found[:, 1]

    def products(self, target: Self, segments: Segments) -> list[Products]:
        """Inner products over each block of block means with one another and with a target's."""
        one, two = self._with(target)
        return one._products(two or one, one._kept.segments(segments))

    def _products(self, target: Self, segments: Segments) -> list[Products]:
        def chunk(item: tuple[int, slice]) -> Array:
            _, part = item
            own = self._offsets[:, part] + self._origin[part]
            other = target._offsets[:, part] + target._origin[part]
            apart = own - other
            return np.stack([own @ own.T, other @ other.T, own @ other.T, apart @ apart.T])

        found = self._summed(chunk, segments, self._square, _threads(4 * self._offsets.size))
        return [Products(*block) for block in found]

    def notable(self, block: slice) -> tuple[int, int]:
        """Numbers within a block of the coordinates with the largest |m| and with the median |m|/s."""
        (mean,), (variance,) = self.merged(self._every())
        size, variance = np.abs(mean[block]), variance[block]
        moving = variance > 0
        snr = np.full_like(size, np.inf)
        np.divide(size, np.sqrt(variance), out=snr, where=moving)
        if not moving.any():
            return int(np.argmax(size)), 0
        distance = np.abs(snr - np.median(snr[moving]))
        return int(np.argmax(size)), int(np.argmax(distance <= TIED * distance.min()))

    def _width(self, rows: int) -> int:
        """Coordinates in a chunk of so many rows."""
        return max(1, min(_CHUNK // rows, _PRODUCT // len(self._counts)))

    @property
    def _square(self) -> int:
        """Coordinates in a chunk whose inner products are taken."""
        return max(1, _PRODUCT // len(self._counts) ** 2)

    def _summed(
        self, chunk: Callable[[tuple[int, slice]], Array], segments: Segments, width: int, threads: int
    ) -> Array:
        """What ``chunk`` gives of chunks of coordinates, added up over each block in an order that no thread changes."""
        parts = segments.bounded(width)
        found = each(chunk, parts, threads)
        pieces = np.zeros((len(segments.pieces), *found[0].shape))
        for (number, _), values in zip(parts, found, strict=True):
            pieces[number] += values
        return segments.over(pieces)


def _threads(numbers: int) -> int:
    return torch.get_num_threads() if numbers >= _WORTH_THREADS else 1


def _product(rows: Array, columns: Array) -> Array:
    """Matrix product ``[S, G]`` by ``[G, p]``, in parts that one thread computes."""
    found = np.empty((len(rows), columns.shape[1]))
    step = max(1, _PRODUCT // max(1, columns.size))
    for start in range(0, len(rows), step):
        np.matmul(rows[start : start + step], columns, out=found[start : start + step])
    return found
