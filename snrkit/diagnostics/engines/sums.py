"""First and second moments of per-draw gradients, summed from factors."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snrkit.backend import kernels
from snrkit.diagnostics.engines.taps import Sink

# Draws whose weight gradients are formed at once: small enough to stay in cache.
_TILE = 16
# Squared relative deviation of a factor, in roundings, below which squares are not summed uncentred.
_STEADY = 1000
# This power of the smallest normal number, and its inverse, bound what needs no scaling (float32: 6e-8): even deviations of
# a few roundings of products of two such numbers can be squared.
_ORDINARY = 24 / 126


def least_ordinary(dtype: torch.dtype) -> float:
    """The smallest size of numbers that need no scaling; its inverse is the largest."""
    least: float = torch.finfo(dtype).tiny ** _ORDINARY
    return least


def powers_of(largest: Tensor) -> Tensor:
    """Powers of two that bring columns, of which these are the largest sizes, to about 1; 1 for zero and ordinary ones."""
    least = least_ordinary(largest.dtype)
    extreme = (largest > 0) & ((largest < least) | (largest > 1 / least))
    exponent = torch.where(extreme, largest.frexp().exponent.clamp(-126, 126), 0)
    return torch.ones_like(largest).ldexp(-exponent)


class _Scale:
    """Powers of two, one a column, that bring columns of extreme numbers to about 1, whose squares do not leave the range.

    To multiply by them is exact, and so changes nothing else. A column's power is settled by its first numbers that are not
    zero.
    """

    def __init__(self, width: int, like: Tensor) -> None:
        self.powers: Tensor | None = None
        self._open = torch.ones(width, dtype=torch.bool, device=like.device)
        self._settled = False
        self._least = least_ordinary(like.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Numbers ``[..., width]``, scaled."""
        for part in (x[:1], x):  # mostly the first draw settles it, and the others need not be read
            if not self._settled:
                rows = part.flatten(0, -2)
                # Both ends, for to write the absolute values would cost more than to read the numbers twice.
                self._settle(torch.maximum(rows.amax(dim=0), rows.amin(dim=0).neg()))
        return x if self.powers is None else x * self.powers

    def _settle(self, largest: Tensor) -> None:
        low, high = torch.aminmax(largest)
        if self.powers is None and float(low) >= self._least and float(high) <= 1 / self._least:
            self._settled = True  # the ordinary case, and quickly
            return
        seen = self._open & (largest > 0)
        extreme = seen & ((largest < self._least) | (largest > 1 / self._least))
        if bool(extreme.any()):
            powers = powers_of(largest.where(self._open, 0))
            self.powers = powers if self.powers is None else self.powers * powers
        self._open &= ~seen
        self._settled = not bool(self._open.any())


class _Sums:
    """Sums of deviations from the first draw and of their squares, which loses no small variance beside a large mean.

    Attributes:
        scales: of each axis; the sums are of scaled numbers.
    """

    def __init__(self, shape: torch.Size, like: Tensor) -> None:
        self.draws = 0
        self.first: Tensor | None = None
        self.total, self.squares = like.new_zeros(shape), like.new_zeros(shape)
        self.scales = [_Scale(width, like) for width in shape]

    def moments(self) -> tuple[Tensor, Tensor]:
        """(mean, m2) in float64."""
        total, squares = self.total.double(), self.squares.double()
        mean = total / self.draws
        m2 = (squares - total * mean).clamp_(min=0)
        mean = mean if self.first is None else mean + self.first.double()
        for axis, scale in enumerate(self.scales):
            if scale.powers is not None:
                powers = scale.powers.double().view(-1, *[1] * (mean.ndim - 1 - axis))
                mean, m2 = mean / powers, m2 / powers.square()
        return mean, m2


class LayerSums:
    """Moments of the weights and biases of linear layers.

    Args:
        parameters: name to parameter, for their shapes.
    """

    def __init__(self, parameters: dict[str, Tensor]) -> None:
        self._parameters = parameters
        self._sums: dict[str, _Sums] = {}
        self._lost: set[str] = set()
        self._work: dict[tuple[int, ...], Tensor] = {}

    def add(self, sinks: Sequence[Sink], draws: int) -> None:
        """Add the draws of one pass; every layer call holds a whole number of rows per draw, draw by draw."""
        by_weight: dict[str, list[Sink]] = {}
        for sink in sinks:
            by_weight.setdefault(sink.weight, []).append(sink)
        for name, calls in by_weight.items():
            if not all(sink.intact and rows_of(sink.input) % draws == 0 for sink in calls):
                self._lost |= {name, *(sink.bias for sink in calls if sink.bias is not None)}
                continue
            a = _joined([sink.input for sink in calls], draws)
            d = _joined([sink.cotangent for sink in calls if sink.cotangent is not None], draws)
            self._weight(self._of(name, d), a, d)
            if calls[0].bias is not None:
                self._bias(self._of(calls[0].bias, d), d.sum(dim=1))

    def moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Name to (mean, m2), ``[1, *shape]``, float64."""
        found = {name: sums.moments() for name, sums in self._sums.items() if name not in self._lost}
        return {name: (mean.t().contiguous()[None], m2.t().contiguous()[None]) for name, (mean, m2) in found.items()}

    def _of(self, name: str, like: Tensor) -> _Sums:
        if name not in self._sums:
            # Inputs first for weights, which is the faster order of the products.
            self._sums[name] = _Sums(self._parameters[name].t().shape, like)
        return self._sums[name]

    def _weight(self, sums: _Sums, a: Tensor, d: Tensor) -> None:
        """Inputs ``[r, rows, in]`` and cotangents ``[r, rows, out]``."""
        to_inputs, to_cotangents = sums.scales
        a, d = to_inputs(a), to_cotangents(d)
        one_row = a.shape[1] == 1 and sums.first is None
        uncentred = one_row and (sums.draws > 0 or not _cancels(a[:_TILE, 0], d[:_TILE, 0]))
        sums.draws += len(a)
        if uncentred:
            # Squares of outer products are outer products of squares.
            a, d = a[:, 0], d[:, 0]
            sums.total += kernels.outer_sum(a, d)
            sums.squares += kernels.outer_sum(a.square(), d.square())
            return
        if sums.first is None:
            sums.first = kernels.outer_sum(a[0], d[0])
        if kernels.outer_sums_batch(a.shape[1], a.shape[2], d.shape[2], a):
            self._tiles(sums, sums.first, a, d)
        else:
            for inputs, cotangents in zip(a, d, strict=True):
                off = kernels.outer_sum(inputs, cotangents).sub_(sums.first)
                sums.total += off
                sums.squares.addcmul_(off, off)

    def _tiles(self, sums: _Sums, first: Tensor, a: Tensor, d: Tensor) -> None:
        for start in range(0, len(a), _TILE):
            left, right = a[start : start + _TILE].transpose(1, 2), d[start : start + _TILE]
            shape = (len(right), *sums.total.shape)
            tile = self._work.setdefault(shape, first.new_empty(shape))
            torch.baddbmm(first.expand(shape), left, right, beta=-1, out=tile)
            sums.total += tile.sum(dim=0)
            sums.squares += tile.square_().sum(dim=0)

    def _bias(self, sums: _Sums, gradients: Tensor) -> None:
        """Gradients ``[r, out]``."""
        gradients = sums.scales[0](gradients)
        sums.draws += len(gradients)
        if sums.first is None:
            sums.first = gradients[0].clone()
        off = gradients - sums.first
        sums.total += off.sum(dim=0)
        sums.squares += off.square_().sum(dim=0)


def _cancels(a: Tensor, d: Tensor) -> bool:
    """Whether some product of a column of each varies so little that a difference of mean squares would be all rounding."""
    relative = (_STEADY * torch.finfo(a.dtype).eps) ** 0.5
    return all(bool(((x - x[0]).abs_().amax(dim=0) < relative * x[0].abs()).any()) for x in (a, d))


def _joined(calls: list[Tensor], draws: int) -> Tensor:
    """``[draws, rows, width]``; a layer called twice has the rows of both calls."""
    rows = [x.reshape(draws, -1, x.shape[-1]) for x in calls]
    return rows[0] if len(rows) == 1 else torch.cat(rows, dim=1)


def rows_of(x: Tensor) -> int:
    """n of ``[..., width]`` seen as ``[n, width]``."""
    return x.numel() // x.shape[-1]


class CotangentSums:
    """Mean and scatter matrix of the cotangents of the proposal's parameters, in float64."""

    def __init__(self) -> None:
        self._draws = 0
        self._first = self._total = self._products = torch.empty(0)

    def add(self, cotangents: Tensor) -> None:
        """Add draws ``[r, q]``."""
        values = cotangents.double()
        if self._draws == 0:
            self._first = values[0].clone()
            self._total, self._products = (
                torch.zeros_like(values[0]),
                values.new_zeros(values.shape[1], values.shape[1]),
            )
        off = values - self._first
        self._draws += len(off)
        self._total += off.sum(dim=0)
        self._products += off.T @ off

    def moments(self) -> tuple[Tensor, Tensor]:
        """(mean ``[q]``, sum of outer products of deviations ``[q, q]``)."""
        mean = self._total / self._draws
        return self._first + mean, self._products - torch.outer(self._total, mean)
