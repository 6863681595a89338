"""Streaming float64 moments of gradient draws; memory does not depend on the number of draws."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from snrkit.diagnostics.arrays.base import BlockArrays, Products, Segments, Selection, Totals
from snrkit.diagnostics.arrays.place import moved, stacked
from snrkit.diagnostics.verdict import Verdict
from snrkit.types import Array

# Numbers turned to float64 at once: on a processor, small enough to stay in cache; on a device, so many that it is busy.
_SLICE, _DEVICE_SLICE = 2**20, 2**26


@dataclass
class PointMoments:
    """Moments over draws of the gradients of p groups, one entry per parameter tensor.

    Attributes:
        draws: number of draws n.
        mean: means, each ``[p, *shape]``, float64.
        m2: sums of squared deviations from the mean, same shapes.
    """

    draws: int = 0
    mean: list[Tensor] = field(default_factory=list)
    m2: list[Tensor] = field(default_factory=list)
    _work: dict[tuple[torch.Size, torch.dtype], Tensor] = field(default_factory=dict, repr=False)

    def add(self, gradients: Sequence[Tensor]) -> None:
        """Merge r draws, each tensor ``[r, p, *shape]``, by the pairwise update of Chan, Golub & LeVeque (1983)."""
        chunk = [self._chunk(values) for values in gradients]
        self.merge(gradients[0].shape[0], [mean for mean, _ in chunk], [m2 for _, m2 in chunk])

    def merge(self, draws: int, mean: list[Tensor], m2: list[Tensor]) -> None:
        """Merge the moments of further draws of the same groups."""
        if self.draws == 0:
            self.draws, self.mean, self.m2 = draws, mean, m2
            return
        total = self.draws + draws
        for own_mean, own_m2, other_mean, other_m2 in zip(self.mean, self.m2, mean, m2, strict=True):
            delta = other_mean.sub_(own_mean)
            own_mean.add_(delta, alpha=draws / total)
            own_m2.add_(other_m2).addcmul_(delta, delta, value=self.draws * draws / total)
        self.draws = total

    def _chunk(self, values: Tensor) -> tuple[Tensor, Tensor]:
        # Deviations are taken from the first draw, so that a coordinate that never changes has a variance of exactly
        # zero; they go to a kept workspace, since a fresh one of this size costs more than the arithmetic. On a device they
        # are taken in float64 at once: whether float32 lost any could not be known without waiting for it.
        if values.is_cuda or values.dtype in (torch.float16, torch.bfloat16):
            return wide_chunk(values, _DEVICE_SLICE if values.is_cuda else _SLICE)
        first = values[0]
        kind = values.shape, values.dtype
        if kind not in self._work:
            self._work[kind] = torch.empty_like(values)
        work = self._work[kind]
        torch.sub(values, first, out=work)
        shift = work.mean(dim=0).double()
        squares = work.square_().sum(dim=0)
        mean = first.double() + shift
        m2 = squares.double().addcmul_(shift, shift, value=-values.shape[0]).clamp_(min=0)
        if values.dtype != torch.float64 and len(values) > 1:
            # Below, squares lose digits or vanish; above, they overflow. Coordinates that never change lie there too.
            limits = torch.finfo(values.dtype)
            lost = ~((squares >= values.shape[0] * limits.tiny) & (squares <= limits.max))
            if bool(lost.any()):
                mean[lost], m2[lost] = wide_chunk(values[:, lost])
        return mean, m2


def wide_chunk(values: Tensor, numbers: int = _SLICE) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared deviations of draws ``[r, ...]``, with float64 from the first difference on."""
    first = values[0].double()
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    for part in torch.split(values, max(1, numbers // max(1, first.numel()))):
        off = part.double().sub_(first)
        total += off.sum(dim=0)
        squares += off.square_().sum(dim=0)
    shift = total.div_(len(values))
    return first + shift, squares.addcmul_(shift, shift, value=-len(values)).clamp_(min=0)


@dataclass(frozen=True)
class BlockMoments:
    """Moments of the minibatch gradient over one block of draws, as a vector of P coordinates in T tensors.

    Attributes:
        draws: number of draws n.
        mean: mean over draws of the mean over groups, ``[P]``.
        variance: variance of one draw of the mean over groups (divisor n - 1), ``[P]``.
        points: per group and tensor, ``[G, T, 3]``: squared norm of the group's mean gradient, its inner product with
            ``mean``, and the trace of the group's covariance.
    """

    draws: int
    mean: Array
    variance: Array
    points: Array

    @staticmethod
    def fold(parts: Iterable[PointMoments], groups: int) -> "BlockMoments | DeviceBlock":
        """The mean over groups, whose draws are independent: means average, variances add up over G^2.

        Args:
            parts: moments of disjoint sets of groups in order, together all of them, over the same draws (at least 2).
            groups: their number G.

        Returns:
            The block where the tensors lie: arrays of those on the host, tensors of those on a device.
        """
        draws, variance, traces = 0, torch.zeros((), dtype=torch.float64), []
        means: list[list[Tensor]] = []
        for part in parts:
            draws = part.draws
            means.append([_rows(mean) for mean in part.mean])
            m2 = [_rows(m2) for m2 in part.m2]
            variance = variance + _flat([tensor.sum(dim=0) for tensor in m2]) / (groups**2 * (draws - 1))
            traces.append(torch.stack([tensor.sum(dim=1) for tensor in m2], dim=1) / (draws - 1))
        total = [torch.stack([part.sum(dim=0) for part in parts]).sum(dim=0) for parts in zip(*means, strict=True)]
        mean = [tensor / groups for tensor in total]
        products = torch.cat([_inner_products(part, mean) for part in means])
        points = torch.cat([products, torch.cat(traces)[..., None]], dim=2)
        block = DeviceBlock(draws, _flat(mean), variance, points)
        return block.host() if points.device.type == "cpu" else block

    @property
    def finite(self) -> bool:
        """Whether all variances are numbers."""
        return bool(np.isfinite(self.variance).all())

    def host(self) -> "BlockMoments":
        """Itself."""
        return self


@dataclass(frozen=True)
class DeviceBlock:
    """``BlockMoments`` as float64 tensors where they were drawn.

    Attributes:
        draws, mean, variance, points: as there.
    """

    draws: int
    mean: Tensor
    variance: Tensor
    points: Tensor

    @property
    def finite(self) -> bool:
        """Whether all variances are numbers."""
        return bool(torch.isfinite(self.variance).all())

    def host(self) -> BlockMoments:
        """The same on the host."""
        return BlockMoments(self.draws, *(part.cpu().numpy() for part in (self.mean, self.variance, self.points)))


def _inner_products(points: Sequence[Tensor], mean: Sequence[Tensor]) -> Tensor:
    """Per group and tensor (squared norm, inner product with the mean): tensors ``[p, size]`` to ``[p, T, 2]``."""
    pairs = [torch.stack([own.square().sum(dim=1), own @ all_], dim=1) for own, all_ in zip(points, mean, strict=True)]
    return torch.stack(pairs, dim=1)


def _rows(tensor: Tensor) -> Tensor:
    """``[p, *shape]`` to ``[p, size]``; the shape of a scalar is empty."""
    return tensor.reshape(len(tensor), -1)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


class Rounding(Protocol):
    """What is known of the rounding of draws."""

    def judge(self, mean: Array, variance: Array) -> Verdict:
        """Which coordinates vary by rounding alone, given the mean and variance ``[P]`` of all draws."""


class Moments:
    """Moments of a gradient in G blocks of draws, and of any selection of the blocks merged.

    What varies by rounding alone does not vary here, and what is zero but for rounding is zero. What is read of them is
    computed where they lie; what is returned lies on the host.

    Args:
        blocks: the blocks, each of at least 2 draws.
        rounding: what is known of the rounding of the draws; None: they are exact.
        place: where the arrays are to lie; None: on the host.
    """

    def __init__(
        self,
        blocks: Sequence[BlockMoments | DeviceBlock],
        rounding: Rounding | None = None,
        place: torch.device | None = None,
    ) -> None:
        self.counts = np.array([block.draws for block in blocks], dtype=np.float64)
        self.points: Array = _points(blocks)
        means, variances = [block.mean for block in blocks], [block.variance for block in blocks]
        self._arrays = stacked(self.counts, means, variances, place)
        self.verdict = None if rounding is None else rounding.judge(*self.merged()[1:])
        if self.verdict is not None and (self.verdict.zero.any() or self.verdict.constant.any()):
            self._arrays.still(self.verdict.zero, self.verdict.constant)

    @property
    def blocks(self) -> int:
        """G, the number of blocks."""
        return len(self.counts)

    @property
    def draws(self) -> int:
        """R, the number of draws."""
        return int(self.counts.sum())

    @property
    def size(self) -> int:
        """P, the number of coordinates."""
        return self._arrays.size

    def first(self, blocks: int) -> "Moments":
        """The moments of the first blocks alone."""
        part = copy.copy(self)
        part.counts, part.points, part._arrays = self.counts[:blocks], self.points[:blocks], self._arrays.first(blocks)
        return part

    def beside(self, other: "Moments") -> "Moments":
        """The same, lying where another's arrays lie."""
        part = copy.copy(self)
        part._arrays = moved(self._arrays, other._arrays.place)
        return part

    def block(self, index: int, part: slice) -> BlockMoments:
        """Some coordinates of one block, without what is known of single groups."""
        count, offset = self.counts[index], self._arrays.offsets(part)[index]
        variance = np.maximum(self._arrays.squares(index, part) - count * offset**2, 0.0) / (count - 1)
        return BlockMoments(int(count), self._arrays.origin(part) + offset, variance, np.zeros((1, 1, 3)))

    def means(self, part: slice) -> Tensor:
        """Block means of some coordinates, ``[G, p]``, where they lie."""
        return self._arrays.means(part)

    def merged(self, selection: Array | None = None) -> tuple[int, Array, Array]:
        """Draws, mean ``[P]`` and variance ``[P]`` (divisor R - 1) of the selected blocks together.

        Args:
            selection: 1 or 0 for each block, ``[G]``; left out: all of them.
        """
        chosen = Selection(np.ones((1, self.blocks)) if selection is None else np.asarray(selection)[None], self.counts)
        (mean,), (variance,) = self._arrays.merged(chosen)
        return int(chosen.draws.item()), mean, variance

    def ratios(self, rows: Array, segments: Segments, lender: "Moments | None" = None) -> Array:
        """Mean and quartiles of |m|/s over the coordinates of each block that vary, NaN where none does.

        Args:
            rows: selections of blocks of draws, 1 or 0 for each, ``[S, G]``.
            segments: blocks of coordinates.
            lender: moments of as many blocks whose means are used instead.

        Returns:
            ``[S, blocks, 4]``.
        """
        return self._arrays.ratios(Selection(rows, self.counts), self._lent(lender), segments)

    def totals(self, rows: Array, segments: Segments, lender: "Moments | None" = None) -> Totals:
        """Sums over blocks of coordinates; arguments as for ``ratios``, all blocks of draws first."""
        return self._arrays.totals(Selection(rows, self.counts), self._lent(lender), segments)

    def gram(self, segments: Segments) -> tuple[Array, Array]:
        """Inner products over each block of coordinates, of block means and of centred ones: ``[blocks, G, G]`` each."""
        return self._arrays.gram(segments)

    def products(self, target: "Moments", segments: Segments) -> list[Products]:
        """Inner products over each block of coordinates of block means with one another and with a target's."""
        return self._arrays.products(target.beside(self)._arrays, segments)

    def notable(self, block: slice) -> tuple[int, int]:
        """Numbers within a block of the coordinates with the largest |m| and with the median |m|/s."""
        return self._arrays.notable(block)

    def _lent(self, lender: "Moments | None") -> BlockArrays | None:
        return None if lender is None else lender.beside(self)._arrays


def _points(blocks: Sequence[BlockMoments | DeviceBlock]) -> Array:
    """What is known of single groups in each block, ``[blocks, G, T, 3]``, brought to the host at once."""
    tensors = [block.points if isinstance(block, DeviceBlock) else torch.from_numpy(block.points) for block in blocks]
    found: Array = torch.stack([tensor.to(tensors[0].device) for tensor in tensors]).cpu().numpy()
    return found
