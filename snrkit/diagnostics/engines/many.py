"""Sums over draws of the gradients of linear layers, for many data points at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snrkit.diagnostics.engines.taps import Sink

Pair = tuple[Tensor, Tensor]
# Coordinates of per-draw gradients that are formed at once.
_TILE = 2**19


class PointSums:
    """Moments of the weights and biases of linear layers, one for each of p data points.

    Deviations from a point's first draw are summed, and their squares, which loses no small variance beside a large mean.

    Args:
        points: p.
    """

    def __init__(self, points: int) -> None:
        self._points = points
        self._draws: dict[str, int] = {}
        self._first: dict[str, Tensor] = {}
        self._sums: dict[str, Pair] = {}
        self._lost: set[str] = set()

    def add(self, sinks: Sequence[Sink], draws: int) -> None:
        """Add r draws of each point; every layer call holds a whole number of rows per draw, point by point."""
        by_weight: dict[str, list[Sink]] = {}
        for sink in sinks:
            by_weight.setdefault(sink.weight, []).append(sink)
        for weight, calls in by_weight.items():
            biases = {sink.bias for sink in calls if sink.bias is not None}
            whole = self._points * draws
            if not all(sink.intact and sink.input.shape[:-1].numel() % whole == 0 for sink in calls):
                self._lost |= {weight, *biases}
                continue
            a = self._joined([sink.input for sink in calls], draws)
            d = self._joined([sink.cotangent for sink in calls if sink.cotangent is not None], draws)
            self._weight(weight, a, d)
            if calls[0].bias is not None:
                self._put(calls[0].bias, [d.sum(dim=2)])

    def moments(self) -> dict[str, Pair]:
        """Name to (mean, m2), ``[p, *shape]``, float64."""
        found: dict[str, Pair] = {}
        for name, (total, squares) in self._sums.items():
            if name not in self._lost:
                shift = total / self._draws[name]
                found[name] = self._first[name].double() + shift, (squares - total * shift).clamp_(min=0)
        return found

    def _joined(self, calls: list[Tensor], draws: int) -> Tensor:
        """``[p, draws, rows, width]``; a layer called twice has the rows of both calls."""
        rows = [x.reshape(self._points, draws, -1, x.shape[-1]) for x in calls]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=2)

    def _weight(self, name: str, a: Tensor, d: Tensor) -> None:
        _, r, rows, _ = a.shape
        step = max(1, _TILE // (r * a.shape[-1] * d.shape[-1]))
        tiles = zip(torch.split(d, step), torch.split(a, step), strict=True)
        self._put(name, [
            torch.bmm(left.reshape(-1, rows, left.shape[-1]).transpose(1, 2), right.reshape(-1, rows, right.shape[-1]))
            .view(len(left), r, left.shape[-1], right.shape[-1])
            for left, right in tiles
        ])  # fmt: skip

    def _put(self, name: str, tiles: list[Tensor]) -> None:
        """Gradients ``[some points, r, *shape]``, together those of all points."""
        fresh = name not in self._first
        if fresh:
            self._first[name] = torch.cat([tile[:, 0] for tile in tiles])
        firsts = torch.split(self._first[name], [len(tile) for tile in tiles])
        sums = []
        for tile, first in zip(tiles, firsts, strict=True):
            off = tile - first[:, None]
            sums.append((off.sum(dim=1), off.square_().sum(dim=1)))
        total, squares = (torch.cat(parts).double() for parts in zip(*sums, strict=True))
        self._draws[name] = self._draws.get(name, 0) + tiles[0].shape[1]
        if fresh:
            self._sums[name] = total, squares
        else:
            self._sums[name][0].add_(total)
            self._sums[name][1].add_(squares)
