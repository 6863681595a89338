"""Sums over draws of the gradients of linear layers, as many draws at once as memory allows: for a GPU.

The gradients of a tile of draws are one batched product, and one pass over them gives their means and the sums of squared
deviations from these (``torch.var_mean``, the update of Welford (1962)); tiles are merged in float64. So a small variance
beside a large mean keeps what the draws themselves have of it: in float32 its relative error is a few roundings times
1 + |mean| / sd, and what never changes has no variance. Where a draw has one row, no gradient of a draw is formed: the
moments follow from those of the two factors (see ``_OneRow``).

Nothing here waits for the device but one question in the first pass: whether some numbers are extreme.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from snrkit.diagnostics.engines.sums import least_ordinary, powers_of, rows_of
from snrkit.diagnostics.engines.taps import Sink

Pair = tuple[Tensor, Tensor]
# Draws of one batched product: more matrices than 65,535 not every library takes.
_MATRICES = 2**15
# Numbers in a tile, so that every kernel can count them in 32 bits.
_NUMBERS = 2**31 - 1
# Rows of one product of factors, which is summed in the type of the draws.
_ROWS = 4096


class StackedSums:
    """Moments of the weights and biases of linear layers, one for each of p data points.

    Args:
        points: p.
        tile: gradients of one draw of one point that are formed at once, at least 1.
    """

    def __init__(self, points: int, tile: int) -> None:
        self._points, self._tile = points, min(tile, _MATRICES)
        self._sums: dict[str, _Merged | _OneRow] = {}
        self._lost: set[str] = set()
        # Weights whose factors have extreme numbers, or columns of which nothing is known yet; None: not asked.
        self._careful: set[str] | None = None
        self._powers: dict[tuple[str, str], _Powers] = {}

    def add(self, sinks: Sequence[Sink], draws: int) -> None:
        """Add r draws of each point; every layer call holds a whole number of rows per draw, point by point."""
        factors, biases = self._factors(sinks, draws)
        if self._careful is None:
            self._careful = _extreme(factors)
        for name, (a, d) in factors.items():
            bias, careful = biases[name], name in self._careful
            if bias is not None:
                gradients = d.sum(dim=2)
                self._bias(bias, self._scaled(bias, "out", gradients) if careful else gradients)
            if careful:
                self._weight(name, self._scaled(name, "in", a), self._scaled(name, "out", d))
            else:
                self._weight(name, a, d)

    def moments(self) -> dict[str, Pair]:
        """Name to (mean, m2), ``[p, *shape]``, float64."""
        return {
            name: self._unscaled(name, *own.moments()) for name, own in self._sums.items() if name not in self._lost
        }

    def _factors(self, sinks: Sequence[Sink], draws: int) -> tuple[dict[str, Pair], dict[str, str | None]]:
        """Name of each weight to inputs ``[p, r, rows, in]`` and cotangents ``[p, r, rows, out]``, and to its bias."""
        by_weight: dict[str, list[Sink]] = {}
        for sink in sinks:
            by_weight.setdefault(sink.weight, []).append(sink)
        factors: dict[str, Pair] = {}
        for name, calls in by_weight.items():
            if not all(sink.intact and rows_of(sink.input) % (self._points * draws) == 0 for sink in calls):
                self._lost |= {name, *(sink.bias for sink in calls if sink.bias is not None)}
                continue
            cotangents = [sink.cotangent for sink in calls if sink.cotangent is not None]
            factors[name] = self._joined([sink.input for sink in calls], draws), self._joined(cotangents, draws)
        return factors, {name: by_weight[name][0].bias for name in factors}

    def _joined(self, calls: list[Tensor], draws: int) -> Tensor:
        """``[p, r, rows, width]``; a layer called twice has the rows of both calls."""
        rows = [x.reshape(self._points, draws, -1, x.shape[-1]) for x in calls]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=2)

    def _scaled(self, name: str, axis: str, x: Tensor) -> Tensor:
        key = name, axis
        if key not in self._powers:
            self._powers[key] = _Powers(x.shape[-1], x)
        return self._powers[key](x)

    def _unscaled(self, name: str, mean: Tensor, m2: Tensor) -> Pair:
        for axis, place in (("out", 1), ("in", 2)):
            found = self._powers.get((name, axis))
            if found is not None:
                powers = found.powers.double().view(-1, *[1] * (mean.ndim - 1 - place))
                mean, m2 = mean / powers, m2 / powers.square()
        return mean, m2

    def _bias(self, name: str, gradients: Tensor) -> None:
        """Gradients ``[p, r, out]``."""
        mean, m2 = _moments(gradients)
        self._merged(name).merge(gradients.shape[1], mean, m2)

    def _weight(self, name: str, a: Tensor, d: Tensor) -> None:
        """Inputs ``[p, r, rows, in]`` and cotangents ``[p, r, rows, out]``."""
        sums = self._sums.get(name)
        if sums is None and a.shape[2] == 1:
            sums = self._sums[name] = _OneRow()
        if isinstance(sums, _OneRow):
            sums.add(a.squeeze(2), d.squeeze(2))
            return
        for inputs, cotangents in self._tiles(a, d):
            parts = [_moments(_outer_sums(*pair)) for pair in zip(inputs, cotangents, strict=True)]
            mean, m2 = (torch.cat(own) for own in zip(*parts, strict=True))
            self._merged(name).merge(inputs[0].shape[1], mean, m2)

    def _tiles(self, a: Tensor, d: Tensor) -> Iterator[tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]:
        """The same draws of all points, in parts of points that fit into a tile together with each other's draws."""
        fitting = max(1, min(self._tile, _NUMBERS // (a.shape[-1] * d.shape[-1])))
        draws = min(a.shape[1], fitting)
        for inputs, cotangents in zip(torch.split(a, draws, dim=1), torch.split(d, draws, dim=1), strict=True):
            together = max(1, fitting // draws)
            yield torch.split(inputs, together), torch.split(cotangents, together)

    def _merged(self, name: str) -> "_Merged":
        found = self._sums.setdefault(name, _Merged())
        assert isinstance(found, _Merged)
        return found


class _Merged:
    """Moments merged by the pairwise update of Chan, Golub & LeVeque (1983), float64."""

    def __init__(self) -> None:
        self._draws = 0
        self._mean = self._m2 = torch.empty(0)

    def merge(self, draws: int, mean: Tensor, m2: Tensor) -> None:
        """Add the moments ``[p, *shape]`` of further draws."""
        if self._draws == 0:
            self._draws, self._mean, self._m2 = draws, mean, m2
            return
        total = self._draws + draws
        delta = mean.sub_(self._mean)
        self._mean.add_(delta, alpha=draws / total)
        self._m2.add_(m2).addcmul_(delta, delta, value=self._draws * draws / total)
        self._draws = total

    def moments(self) -> Pair:
        """(mean, m2)."""
        return self._mean, self._m2


class _OneRow:
    """Moments of outer products d a^T of one row each, without any such product of a single draw.

    With deviations u = a - a_0 and v = d - d_0 from the means of the first pass, d a^T - d_0 a_0^T is
    d_0 u^T + v a_0^T + v u^T, whose sums, and sums of squares, are made of those of u, v and their squares and of four
    products over draws. They do not cancel where factors vary little; what does are factors that vary much and whose product
    hardly does.
    """

    def __init__(self) -> None:
        self._draws = 0
        self._centres: Pair | None = None
        # Over draws: of (u, u^2) and (v, v^2) by themselves, and of the products of all of these.
        self._own: Pair = torch.empty(0), torch.empty(0)
        self._products = torch.empty(0)

    def add(self, a: Tensor, d: Tensor) -> None:
        """Add inputs ``[p, r, in]`` and cotangents ``[p, r, out]``."""
        if self._centres is None:
            self._centres = _centre(a), _centre(d)
            self._own = tuple(x.new_zeros(len(x), 2 * x.shape[-1], dtype=torch.float64) for x in (a, d))  # type: ignore[assignment]
            self._products = a.new_zeros(len(a), 2 * d.shape[-1], 2 * a.shape[-1], dtype=torch.float64)
        self._draws += a.shape[1]
        for parts in zip(torch.split(a, _ROWS, dim=1), torch.split(d, _ROWS, dim=1), strict=True):
            u, v = (
                torch.cat([off, off.square()], dim=-1)
                for off in (part - centre for part, centre in zip(parts, self._centres, strict=True))
            )
            for total, own in zip(self._own, (u, v), strict=True):
                total.add_(own.sum(dim=1))
            self._products.add_(torch.bmm(v.transpose(1, 2), u))

    def moments(self) -> Pair:
        """(mean, m2), ``[p, out, in]``, float64."""
        assert self._centres is not None
        a, d = self._centres[0].double(), self._centres[1].double().transpose(1, 2)
        u, uu = (own[:, None] for own in self._own[0].chunk(2, dim=-1))
        v, vv = (own[..., None] for own in self._own[1].chunk(2, dim=-1))
        (vu, vuu), (vvu, vvuu) = (half.chunk(2, dim=2) for half in self._products.chunk(2, dim=1))
        total = d * u + v * a + vu
        squares = d.square() * uu + a.square() * vv + vvuu + 2 * (d * a * vu + d * vuu + a * vvu)
        shift = total / self._draws
        return d * a + shift, (squares - total * shift).clamp_(min=0)


class _Powers:
    """Powers of two, one a column, that bring columns of extreme numbers to about 1; settled on the device, without a wait.

    A column's power is settled by its first numbers that are not zero: before, whatever it scales is zero.

    Attributes:
        powers: ``[width]``.
    """

    def __init__(self, width: int, like: Tensor) -> None:
        self.powers = like.new_ones(width)
        self._open = torch.ones(width, dtype=torch.bool, device=like.device)

    def __call__(self, x: Tensor) -> Tensor:
        """Numbers ``[..., width]``, scaled."""
        largest = _largest(x)
        seen = self._open & (largest > 0)
        self.powers = torch.where(seen, powers_of(largest), self.powers)
        self._open = self._open & ~seen
        return x * self.powers


def _moments(gradients: Tensor) -> Pair:
    """Of gradients ``[p, r, *shape]``: (mean, m2) ``[p, *shape]``, float64."""
    variance, mean = torch.var_mean(gradients, dim=1, correction=0)
    return mean.double(), variance.double().mul_(gradients.shape[1])


def _outer_sums(a: Tensor, d: Tensor) -> Tensor:
    """The gradient of each draw of some points, ``[p, r, out, in]``."""
    found = torch.bmm(d.flatten(0, 1).transpose(1, 2), a.flatten(0, 1))
    return found.view(*a.shape[:2], *found.shape[1:])


def _centre(x: Tensor) -> Tensor:
    """The mean over draws ``[p, r, width]``, as ``[p, 1, width]``; of equal numbers exactly that number."""
    first = x[:, :1]
    return first + (x - first).mean(dim=1, keepdim=True)


def _largest(x: Tensor) -> Tensor:
    """Of each column of ``[..., width]`` the largest absolute value."""
    largest: Tensor = torch.linalg.vector_norm(x.flatten(0, -2), ord=torch.inf, dim=0)
    return largest


def _extreme(factors: dict[str, Pair]) -> set[str]:
    """The weights some column of whose factors is extreme, or all zero so far. The one question put to the device."""
    outside: list[Tensor] = []
    for pair in factors.values():
        ends = [torch.aminmax(_largest(x)) for x in pair]
        least = least_ordinary(pair[0].dtype)
        # What is NaN lies within no bounds either.
        inside = [(low >= least) & (high <= 1 / least) for low, high in ends]
        outside.append(~(inside[0] & inside[1]))
    answers: list[bool] = torch.stack(outside).tolist() if outside else []
    return {name for name, careful in zip(factors, answers, strict=True) if careful}
