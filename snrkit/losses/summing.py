"""Moments of rows of gradients, in float64, by stretches of coordinates that stay in cache."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snrkit.diagnostics.moments import BlockMoments, wide_chunk

# Numbers of rows that are taken at once: on a processor, those that stay in cache; on a device, so many that it is busy.
_AT_ONCE, _DEVICE_AT_ONCE = 2**18, 2**26


class RowMoments:
    """Mean and squared deviations of rows ``[n, P]``, merged by the pairwise update of Chan, Golub & LeVeque (1983).

    Deviations are taken from the first of the rows that are added together, in their own type: a coordinate that never
    changes has a variance of exactly zero. Where squares of deviations leave float32's range they are taken in float64.

    Args:
        size: P.
        device: where rows lie.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.draws = 0
        self.mean = torch.zeros(size, dtype=torch.float64, device=device)
        self._m2 = torch.zeros_like(self.mean)
        self._work = _Work()

    def add(self, rows: Tensor) -> None:
        """Merge draws ``[r, P]``."""
        share = len(rows) / (self.draws + len(rows))
        for span in stretches(rows):
            mean, m2 = self._of(rows[:, span])
            own_mean, own_m2 = self.mean[span], self._m2[span]
            delta = mean.sub_(own_mean)
            own_mean.add_(delta, alpha=share)
            own_m2.add_(m2).addcmul_(delta, delta, value=self.draws * share)
        self.draws += len(rows)

    def block(self) -> BlockMoments:
        """The moments of all rows, at least two, on the host; nothing can be added afterwards."""
        variance = self._m2.div_(self.draws - 1)
        single = torch.zeros(1, 1, 3, dtype=torch.float64)
        return BlockMoments(self.draws, *(part.cpu().numpy() for part in (self.mean, variance, single)))

    def _of(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sum of squared deviations of ``[r, p]``, in tensors that the next call may write over."""
        # On a device whether float32 loses squares could not be known without waiting for it.
        if values.is_cuda:
            return wide_chunk(values, _DEVICE_AT_ONCE)
        work, first = self._work, values[0]
        off = torch.sub(values, first, out=work.like("off", values))
        shift = torch.mean(off, dim=0, out=work.like("shift", first))
        squares = torch.sum(off.square_(), dim=0, out=work.like("squares", first))
        wide = work.wide("wide", shift)
        m2 = work.wide("m2", squares).addcmul_(wide, wide, value=-len(values)).clamp_(min=0)
        mean = work.wide("mean", first).add_(wide)
        if values.dtype != torch.float64 and len(values) > 1:
            lost = _lost(values, squares)
            if lost is not None:
                mean[lost], m2[lost] = wide_chunk(values.index_select(1, lost))
        return mean, m2


class _Work:
    """Tensors that are used again: fresh ones of this size cost more than the arithmetic."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def like(self, name: str, values: Tensor) -> Tensor:
        """A tensor of the shape and type of another."""
        kept = self._kept.get(name)
        if kept is None or kept.shape != values.shape:
            kept = self._kept[name] = torch.empty(values.shape, dtype=values.dtype)
        return kept

    def wide(self, name: str, values: Tensor) -> Tensor:
        """A copy in float64."""
        kept = self._kept.get(name)
        if kept is None or kept.shape != values.shape:
            kept = self._kept[name] = torch.empty(values.shape, dtype=torch.float64)
        return kept.copy_(values)


def stretches(rows: Tensor) -> Iterator[slice]:
    """Consecutive coordinates of rows ``[n, ..., P]``, so many at a time as stay in cache."""
    at_once = _DEVICE_AT_ONCE if rows.is_cuda else _AT_ONCE
    size = rows.shape[-1]
    width = max(1, at_once * size // max(1, rows.numel()))
    for start in range(0, size, width):
        yield slice(start, min(start + width, size))


def _lost(values: Tensor, squares: Tensor) -> Tensor | None:
    """Which coordinates of ``[r, p]`` vary, by squares that add up beyond the range of their type; None: there are none."""
    # Below, squares lose digits or vanish; above, they overflow. What is NaN is beyond too.
    limits = torch.finfo(values.dtype)
    least, most = len(values) * limits.tiny, limits.max
    low, high = torch.aminmax(squares)
    if least <= float(low) and float(high) <= most:
        return None
    beyond = ~((squares >= least) & (squares <= most))
    # Coordinates without any change, as of inputs that are always zero, are right as they are.
    lost = (beyond & (torch.amax(values, dim=0) != torch.amin(values, dim=0))).nonzero()[:, 0]
    return lost if len(lost) else None
