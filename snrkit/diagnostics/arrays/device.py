"""The arrays behind moments in torch, float64, where the draws were made: only small tables come back.

Nothing here waits for the device but ``_host``, which is called once or twice for each reading of all blocks.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from snrkit.diagnostics.arrays.base import QUARTILES, ROUNDING, TIED, Products, Segments, Selection, Totals
from snrkit.types import Array, Mask

# Bytes of intermediate results; of one coordinate in one selection there are so many at a time, those of a sort included.
WORK = 2**30
_PER_NUMBER = 80


class DeviceArrays:
    """See ``BlockArrays``; arguments as for ``HostArrays``, tensors in float64.

    Args:
        counts: draws of each block, ``[G]``, on the host.
        origin: origin of the means, ``[P]``.
        offsets: of the block means from it, ``[G, P]``.
        squares: sums of squares about the origin, ``[G, P]``.
        work: bytes that intermediate results may take.
    """

    def __init__(self, counts: Array, origin: Tensor, offsets: Tensor, squares: Tensor, work: int = WORK) -> None:
        self._counts, self._origin, self._offsets, self._squares, self._work = counts, origin, offsets, squares, work

    @classmethod
    def of(cls, counts: Array, means: Sequence[Tensor], variances: Sequence[Tensor], work: int = WORK) -> Self:
        """The arrays of blocks with these means and variances of a draw, ``[P]`` each."""
        origin = means[0]
        offsets, squares = (origin.new_empty(len(means), len(origin)) for _ in range(2))
        for block, (count, mean, variance) in enumerate(zip(counts, means, variances, strict=True)):
            torch.sub(mean, origin, out=offsets[block])
            torch.mul(variance, float(count) - 1, out=squares[block])
            squares[block].addcmul_(offsets[block], offsets[block], value=float(count))
        return cls(counts, origin, offsets, squares, work)

    def host(self) -> tuple[Array, Array, Array, Array]:
        """The arguments as arrays on the host."""
        return self._counts, _host(self._origin), _host(self._offsets), _host(self._squares)

    @property
    def size(self) -> int:
        """P, the number of coordinates."""
        return len(self._origin)

    @property
    def place(self) -> torch.device:
        """The device where they lie."""
        return self._origin.device

    def first(self, blocks: int) -> Self:
        """The first blocks alone."""
        kept = self._offsets[:blocks], self._squares[:blocks]
        return type(self)(self._counts[:blocks], self._origin, *kept, self._work)

    def still(self, zero: Mask, constant: Mask) -> None:
        """Take from some coordinates ``[P]`` all variation, and from those that are zero the mean too."""
        mean = self._merged(self._every())[0][0]
        nothing, none = (torch.from_numpy(mask).to(mean.device) for mask in (zero, zero | constant))
        self._origin = torch.where(none, mean, self._origin).masked_fill(nothing, 0.0)
        self._offsets.masked_fill_(none, 0.0)
        self._squares.masked_fill_(none, 0.0)

    def origin(self, part: slice) -> Array:
        """The origin of some coordinates, ``[p]``."""
        return _host(self._origin[part])

    def offsets(self, part: slice) -> Array:
        """Offsets of some coordinates, ``[G, p]``."""
        return _host(self._offsets[:, part])

    def squares(self, block: int, part: slice) -> Array:
        """Sums of squares about the origin in one block, ``[p]``."""
        return _host(self._squares[block, part])

    def means(self, part: slice) -> Tensor:
        """Block means of some coordinates, ``[G, p]``, where they lie."""
        return self._origin[part] + self._offsets[:, part]

    def merged(self, chosen: Selection) -> tuple[Array, Array]:
        """Mean and variance of a draw of each selection, ``[S, P]`` each."""
        found = [self._merged(part) for part in self._groups(chosen)]
        mean, variance = (np.concatenate([_host(pair[i]) for pair in found]) for i in range(2))
        return mean, variance

    def _every(self) -> Selection:
        return Selection(np.ones((1, len(self._counts))), self._counts)

    def _groups(self, chosen: Selection) -> list[Selection]:
        """The selections in portions whose intermediate results fit."""
        rows = max(1, self._work // (_PER_NUMBER * max(1, self.size)))
        return [chosen.part(slice(start, start + rows)) for start in range(0, len(chosen), rows)]

    def _merged(self, chosen: Selection) -> tuple[Tensor, Tensor]:
        """Mean and variance, ``[S, P]`` each; the variance is zero of what does not vary."""
        shares, rows, draws = (self._sent(array) for array in (chosen.shares, chosen.rows, chosen.draws))
        mean, squares = shares @ self._offsets, rows @ self._squares
        variance = squares - draws * mean.square()
        variance = variance.masked_fill_(variance <= ROUNDING * squares, 0.0).div_(draws - 1)
        return mean.add_(self._origin), variance

    def _sent(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self._origin.device)

    def ratios(self, chosen: Selection, means: Self | None, segments: Segments) -> Array:
        """Mean and quartiles over the coordinates of a block that vary of |m|/s: ``[S, blocks, 4]``."""
        return np.concatenate([_host(self._ratios(part, means, segments)) for part in self._groups(chosen)])

    def _ratios(self, chosen: Selection, means: Self | None, segments: Segments) -> Tensor:
        mean, variance = self._merged(chosen)
        if means is not None:
            mean, _ = means._merged(Selection(chosen.rows, means._counts))
        moving = variance > 0
        ratio = mean.abs_().div_(variance.sqrt_()).masked_fill_(~moving, torch.inf)  # behind all others in order
        found = []
        for block in segments.blocks:
            inside, values = moving[:, block], ratio[:, block]
            counts = inside.sum(dim=1, keepdim=True)
            average = values.masked_fill(~inside, 0.0).sum(dim=1, keepdim=True) / counts  # NaN where none varies
            found.append(torch.cat([average, self._quartiles(values, counts)], dim=1))
        return torch.stack(found, dim=1)

    def _quartiles(self, values: Tensor, counts: Tensor) -> Tensor:
        """Quartiles ``[S, 3]`` of the ``counts`` smallest numbers ``[S, 1]`` in each row of ``[S, p]``."""
        if values.shape[1] == 0:
            return values.new_full((len(values), len(QUARTILES)), torch.nan)
        last = (counts - 1).clamp(min=0)
        positions = last * self._sent(QUARTILES)
        lower = positions.long()
        ordered = values.sort(dim=1).values
        low, high = ordered.gather(1, lower), ordered.gather(1, torch.minimum(lower + 1, last))
        between = (high - low) * (positions - lower) + low
        return between.masked_fill(counts == 0, torch.nan)

    def totals(self, chosen: Selection, means: Self | None, segments: Segments) -> Totals:
        """Sums over the coordinates of each block."""
        moving = self._merged(chosen.part(slice(0, 1)))[1] > 0  # [1, P]
        parts = [self._totals(part, means, segments, moving) for part in self._groups(chosen)]
        every = _host(torch.cat([parts[0][1], *(sums for sums, _ in parts)]))  # [1 + S, pieces, 3]
        moving, of_mean, typical = segments.over(every[0]).T
        trace, norm, signed = (segments.over(sums.T).T for sums in np.moveaxis(every[1:], 2, 0))
        return Totals(trace, norm, signed, moving, of_mean, typical)

    def _totals(
        self, chosen: Selection, means: Self | None, segments: Segments, moving: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums ``[S, pieces, 3]``, and of the first selection what else there is, ``[1, pieces, 3]``."""
        mean, variance = self._merged(chosen)
        if means is None:
            of_mean = variance / self._sent(chosen.draws)
        else:
            lent = Selection(chosen.rows, means._counts)
            mean, of_mean = means._merged(lent)
            of_mean.div_(self._sent(lent.draws))
        signed = mean.square_().sub_(of_mean)
        typical = (of_mean[:1] / variance[:1]).sqrt_().masked_fill_(~moving, 0.0)
        sums = _summed([variance, signed, signed.masked_fill(~moving, 0.0)], segments)
        return sums, _summed([moving.double(), of_mean[:1], typical], segments)

    def gram(self, segments: Segments) -> tuple[Array, Array]:
        """Inner products over each block of block means, and of what is left of them less their mean."""
        shares, roots = (self._sent(array) for array in (self._counts / self._counts.sum(), np.sqrt(self._counts)))
        found = []
        for part in segments.pieces:
            offsets, means = self._offsets[:, part], self.means(part)
            centred = (offsets - shares @ offsets).mul_(roots[:, None])
            found.append(torch.stack([means @ means.mT, centred @ centred.mT]))
        both = segments.over(_host(torch.stack(found)))
        return both[:, 0], both[:, 1]

    def products(self, target: Self, segments: Segments) -> list[Products]:
        """Inner products over each block of block means with one another and with a target's."""
        found = []
        for part in segments.pieces:
            own, other = self.means(part), target.means(part)
            apart = own - other
            found.append(torch.stack([own @ own.mT, other @ other.mT, own @ other.mT, apart @ apart.mT]))
        return [Products(*block) for block in segments.over(_host(torch.stack(found)))]

    def notable(self, block: slice) -> tuple[int, int]:
        """Numbers within a block of the coordinates with the largest |m| and with the median |m|/s."""
        mean, variance = (values[0, block] for values in self._merged(self._every()))
        size, moving = mean.abs(), variance > 0
        snr = (size / variance.sqrt()).masked_fill(~moving, torch.inf)
        last = (moving.sum() - 1).clamp(min=0)
        ordered = snr.sort().values
        median = (ordered.take(last // 2) + ordered.take((last + 1) // 2)) / 2
        distance = torch.where(moving, (snr - median).abs(), torch.inf)
        nearest = (distance <= TIED * distance.min()).int().argmax()
        largest, middle = _host(torch.stack([size.argmax(), nearest]))
        return int(largest), int(middle)


def _summed(values: Sequence[Tensor], segments: Segments) -> Tensor:
    """Sums over each piece, of several ``[S, P]``: ``[S, pieces, several]``."""
    rows = [torch.stack([own[:, part].sum(dim=1) for part in segments.pieces], dim=1) for own in values]
    return torch.stack(rows, dim=2)


def _host(tensor: Tensor) -> Array:
    """What leaves the device."""
    found: Array = tensor.cpu().numpy()
    return found
