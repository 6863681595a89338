"""Streaming float64 moments of gradient draws; memory does not depend on the number of draws."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from snrkit.types import Array, Mask

# Numbers turned to float64 at once: small enough to stay in cache.
_SLICE = 2**20
# Differences of sums of squares are zero but for the rounding of float64 if so many roundings of the sums.
_ROUNDINGS = 8


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
        # zero; they go to a kept workspace, since a fresh one of this size costs more than the arithmetic.
        if values.dtype in (torch.float16, torch.bfloat16):
            return _wide_chunk(values)
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
                mean[lost], m2[lost] = _wide_chunk(values[:, lost])
        return mean, m2


def _wide_chunk(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and sum of squared deviations of draws ``[r, ...]``, with float64 from the first difference on."""
    first = values[0].double()
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    for part in torch.split(values, max(1, _SLICE // max(1, first.numel()))):
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

    @classmethod
    def fold(cls, parts: Iterable[PointMoments], groups: int) -> "BlockMoments":
        """The mean over groups, whose draws are independent: means average, variances add up over G^2.

        Args:
            parts: moments of disjoint sets of groups in order, together all of them, over the same draws (at least 2).
            groups: their number G.
        """
        draws, variance, traces = 0, np.zeros(()), []
        means: list[list[Tensor]] = []
        for part in parts:
            draws = part.draws
            means.append([_rows(mean) for mean in part.mean])
            m2 = [_rows(m2) for m2 in part.m2]
            variance = variance + _flat([tensor.sum(dim=0) for tensor in m2]) / (groups**2 * (draws - 1))
            traces.append(torch.stack([tensor.sum(dim=1) for tensor in m2], dim=1) / (draws - 1))
        total = [torch.stack([part.sum(dim=0) for part in parts]).sum(dim=0) for parts in zip(*means, strict=True)]
        mean = [tensor / groups for tensor in total]
        points = torch.cat([_inner_products(part, mean) for part in means])
        return cls(draws, _flat(mean), variance, torch.cat([points, torch.cat(traces)[..., None]], dim=2).cpu().numpy())


def _inner_products(points: Sequence[Tensor], mean: Sequence[Tensor]) -> Tensor:
    """Per group and tensor (squared norm, inner product with the mean): tensors ``[p, size]`` to ``[p, T, 2]``."""
    pairs = [torch.stack([own.square().sum(dim=1), own @ all_], dim=1) for own, all_ in zip(points, mean, strict=True)]
    return torch.stack(pairs, dim=1)


def _rows(tensor: Tensor) -> Tensor:
    """``[p, *shape]`` to ``[p, size]``; the shape of a scalar is empty."""
    return tensor.reshape(len(tensor), -1)


def _flat(tensors: Sequence[Tensor]) -> Array:
    return torch.cat([tensor.flatten() for tensor in tensors]).cpu().numpy()


@dataclass(frozen=True)
class Verdict:
    """Which coordinates are not what they seem, ``[P]`` each.

    Attributes:
        zero: zero but for rounding.
        constant: others that are constant but for rounding.
        lost: genuine, but zero in the precision of the draws.
        few: genuine, but below its normal numbers, where digits are lost.
        dtype: name of that precision.
        unchecked: why zeros could not be told; empty if they were.
    """

    zero: Mask
    constant: Mask
    lost: Mask
    few: Mask
    dtype: str
    unchecked: str = ""

    def remark(self, block: slice) -> str:
        """What a reading of the block's ratios must say."""
        kinds = ((int(mask[block].sum()), name) for mask, name in ((self.zero, "zero"), (self.constant, "constant")))
        dropped = " and ".join(f"{count} {name}" for count, name in kinds if count)
        parts = [
            f"dropped {dropped} but for rounding" if dropped else "",
            "rounding not checked" if self.unchecked else "",
        ]
        return "; ".join(part for part in parts if part)


class Rounding(Protocol):
    """What is known of the rounding of draws."""

    def judge(self, mean: Array, variance: Array) -> Verdict:
        """Which coordinates vary by rounding alone, given the mean and variance ``[P]`` of all draws."""


class Moments:
    """Moments of a gradient in G blocks of draws, and of any selection of the blocks merged.

    What varies by rounding alone does not vary here, and what is zero but for rounding is zero.

    Args:
        blocks: the blocks, each of at least 2 draws.
        rounding: what is known of the rounding of the draws; None: they are exact.
    """

    def __init__(self, blocks: Sequence[BlockMoments], rounding: Rounding | None = None) -> None:
        self.counts = np.array([block.draws for block in blocks], dtype=np.float64)
        self.points: Array = np.stack([block.points for block in blocks])
        # Relative to the first block, so that equal means differ by exactly zero.
        self.origin: Array = blocks[0].mean
        self.offsets: Array = np.stack([block.mean - self.origin for block in blocks])
        self._second = np.stack([(block.draws - 1) * block.variance for block in blocks])
        for block, count in enumerate(self.counts):  # block by block, to need no third array of this size
            self._second[block] += count * self.offsets[block] ** 2
        self.verdict = None if rounding is None else rounding.judge(*self.merged()[1:])
        if self.verdict is not None:
            self._still(self.verdict)

    def _still(self, verdict: Verdict) -> None:
        still = verdict.zero | verdict.constant
        if still.any():
            self.origin = np.where(verdict.zero, 0.0, np.where(still, self.merged()[1], self.origin))
            self.offsets[:, still] = 0.0
            self._second[:, still] = 0.0

    @property
    def blocks(self) -> int:
        """G, the number of blocks."""
        return len(self.counts)

    @property
    def draws(self) -> int:
        """R, the number of draws."""
        return int(self.counts.sum())

    def first(self, blocks: int) -> "Moments":
        """The moments of the first blocks alone."""
        part = copy.copy(self)
        part.counts, part.points = self.counts[:blocks], self.points[:blocks]
        part.offsets, part._second = self.offsets[:blocks], self._second[:blocks]
        return part

    def block(self, index: int, part: slice) -> BlockMoments:
        """Some coordinates of one block, without what is known of single groups."""
        count, offset = self.counts[index], self.offsets[index, part]
        variance = np.maximum(self._second[index, part] - count * offset**2, 0.0) / (count - 1)
        return BlockMoments(int(count), self.origin[part] + offset, variance, np.zeros((1, 1, 3)))

    def merged(self, selection: Array | None = None) -> tuple[int, Array, Array]:
        """Draws, mean ``[P]`` and variance ``[P]`` (divisor R - 1) of the selected blocks together.

        Args:
            selection: 1 or 0 for each block, ``[G]``; left out: all of them.
        """
        chosen = np.ones(self.blocks) if selection is None else selection
        draws = float(chosen @ self.counts)
        shift = (chosen * self.counts) @ self.offsets / draws
        second = chosen @ self._second
        m2 = second - draws * shift**2
        m2[m2 <= _ROUNDINGS * np.finfo(np.float64).eps * second] = 0.0  # what varies in other blocks only
        return int(draws), self.origin + shift, m2 / (draws - 1)
