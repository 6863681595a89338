"""Moments of rows of deviations, in float64, by stretches of coordinates that stay in cache."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snrkit.backend.memory import fresh
from snrkit.diagnostics.moments import BlockMoments

# Numbers of rows that are taken at once: on a processor, those that stay in its cache, in their own type or in float64; on a
# device, so many that it is busy. And coordinates whose sums are.
_AT_ONCE, WIDE_AT_ONCE, _DEVICE_AT_ONCE, _COORDINATES = 2**20, 2**18, 2**26, 2**15


class RowMoments:
    """Mean and squared deviations of rows ``[n, P]`` that are deviations from an origin of their own kind.

    A coordinate that never changes has a variance of exactly zero where the origin is one of the draws. Rows that are added
    together are summed in their own type, and those sums in float64; where squares leave float32's range they are taken in
    float64 as well.

    Args:
        size: P.
        device: where rows lie.
    """

    def __init__(self, size: int, device: torch.device) -> None:
        self.draws = 0
        self.sums = torch.zeros(size, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self.sums)
        self._products: Tensor | None = None

    def begin(self) -> None:
        """Forget all draws, and keep the memory: fresh pages cost more than the arithmetic."""
        self.draws = 0

    def add(self, rows: Tensor) -> None:
        """Add deviations ``[r, P]``."""
        for span in stretches(rows, _AT_ONCE):
            both = self._of(rows[:, span])
            for total, part in zip((self.sums[span], self._squares[span]), both, strict=True):
                if self.draws:
                    total.add_(part)
                else:
                    total.copy_(part)
        self.draws += len(rows)

    def block(self, origin: Tensor) -> BlockMoments:
        """The moments of all draws, at least two, on the host.

        Args:
            origin: what rows are deviations from, ``[P]``.
        """
        mean, variance = (fresh(self.sums.shape, torch.float64, self.sums.device) for _ in range(2))
        n, step = self.draws, len(mean) if mean.is_cuda else _COORDINATES
        for sums, squares, start, m, v in zip(
            *(torch.split(part, max(1, step)) for part in (self.sums, self._squares, origin, mean, variance)),
            strict=True,
        ):
            torch.mul(squares, 1 / (n - 1), out=v).addcmul_(sums, sums, value=-1 / (n * (n - 1))).clamp_(min=0)
            torch.add(start, sums, alpha=1 / n, out=m)
        single = torch.zeros(1, 1, 3, dtype=torch.float64)
        return BlockMoments(n, *(part.cpu().numpy() for part in (mean, variance, single)))

    def _of(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of deviations ``[r, p]`` and of their squares, ``[p]`` each."""
        # On a device whether float32 loses squares could not be known without waiting for it.
        if values.is_cuda:
            wide = values.double()
            return wide.sum(dim=0), wide.square_().sum(dim=0)
        if self._products is None or self._products.shape != values.shape:
            self._products = torch.empty(values.shape, dtype=values.dtype)
        sums, squares = values.sum(dim=0), torch.mul(values, values, out=self._products).sum(dim=0)
        lost = _lost(values, squares) if values.dtype != torch.float64 else None
        if lost is not None:
            wide = values.index_select(1, lost).double()
            sums, squares = sums.double(), squares.double()
            sums[lost], squares[lost] = wide.sum(dim=0), wide.square_().sum(dim=0)
        return sums, squares


def stretches(rows: Tensor, numbers: int) -> Iterator[slice]:
    """Consecutive coordinates of rows ``[n, ..., P]``, about so many numbers at a time; on a device, more."""
    at_once = _DEVICE_AT_ONCE if rows.is_cuda else numbers
    size = rows.shape[-1]
    width = max(1, at_once * size // max(1, rows.numel()))
    for start in range(0, size, width):
        yield slice(start, min(start + width, size))


def _lost(values: Tensor, squares: Tensor) -> Tensor | None:
    """Which coordinates of deviations ``[r, p]`` have squares that add up beyond the range of their type; None: none has."""
    # Below, squares lose digits or vanish; above, they overflow. What is NaN is beyond too.
    limits = torch.finfo(values.dtype)
    least, most = len(values) * limits.tiny, limits.max
    low, high = torch.aminmax(squares)
    if least <= float(low) and float(high) <= most:
        return None
    beyond = ~((squares >= least) & (squares <= most))
    # Coordinates without any deviation, as of inputs that are always zero, are right as they are. Mostly all are: one
    # product with weights that let none cancel tells so sooner than a look at each.
    weights = torch.linspace(1, 2, len(beyond), dtype=values.dtype).mul_(beyond)
    if not bool((values @ weights).count_nonzero()):
        return None
    lost = (beyond & (values.abs().amax(dim=0) != 0)).nonzero()[:, 0]
    return lost if len(lost) else None
