"""Moments of the encoder's layers from the cotangents of the proposal's parameters.

The encoder's inputs do not depend on the noise: for draw r a layer's gradient is (J^T c_r) a^T, with c_r the cotangent of
the proposal's parameters, J their Jacobian with respect to the layer's output, and a its input.
"""

from collections import Counter
from typing import Protocol

import torch
from torch import Tensor

from snrkit.core.batches import Batch, points, transform
from snrkit.diagnostics.engines.sums import CotangentSums
from snrkit.diagnostics.engines.taps import Sink, Taps
from snrkit.diagnostics.problem import Problem

Pair = tuple[Tensor, Tensor]
# Up to this size the Jacobian is formed once; beyond, its square (and the scatter of the cotangents) costs more than to pull
# every cotangent back by itself.
_JACOBIAN = 256


class EncoderMoments(Protocol):
    """What gathers the moments of the encoder's layers over draws of one or several data points."""

    def add(self, cotangents: Tensor) -> None:
        """Add draws ``[p, r, q]``."""

    def moments(self) -> dict[str, Pair]:
        """Name to (mean, m2), each ``[p, *shape]``, float64."""


def by_jacobian(width: int, several: bool) -> bool:
    """Whether the Jacobian is formed, for a proposal of ``width`` numbers per point and several points in a pass or one."""
    return width <= _JACOBIAN and not several


def encoder_moments(
    problem: Problem, x: Batch, varying: list[str], width: int, several: bool, rows: int
) -> EncoderMoments:
    """What is cheaper for data points ``[p, *event]`` and a proposal of ``width`` numbers per point.

    Args:
        problem: what is drawn.
        x: the data points.
        varying: names of the proposal's tensors that depend on parameters.
        width: of the proposal.
        several: whether several points share a pass.
        rows: cotangents that may be pulled back at once.
    """
    return ByJacobian(problem, x, varying) if by_jacobian(width, several) else PulledBack(problem, x, varying, rows)


class ByJacobian:
    """For one data point: mean and scatter of the cotangents are gathered, and the Jacobian makes the moments of them.

    Args:
        problem: what is drawn.
        x: the data point, ``[1, *event]``.
        varying: names of the proposal's tensors that depend on parameters.
    """

    def __init__(self, problem: Problem, x: Batch, varying: list[str]) -> None:
        self._problem, self._x, self._varying = problem, x, varying
        self._sums = CotangentSums()

    def add(self, cotangents: Tensor) -> None:
        """Add draws ``[1, r, q]``."""
        self._sums.add(cotangents[0])

    def moments(self) -> dict[str, Pair]:
        """Name to (mean, m2), each ``[1, *shape]``, float64."""
        mean, m2 = self._sums.moments()
        # Unit cotangents: the taps then hold the rows of every layer's Jacobian.
        unit = torch.eye(len(mean), dtype=self._problem.dtype, device=mean.device)
        found: dict[str, Pair] = {}
        for sink in pulled_back(self._problem, self._x, self._varying, unit):
            jacobian = _cotangent(sink).double()
            own = jacobian.T @ mean, (m2 @ jacobian * jacobian).sum(dim=0)
            a = sink.input[0].double()
            found[sink.weight] = torch.outer(own[0], a)[None], torch.outer(own[1], a.square())[None]
            if sink.bias is not None:
                found[sink.bias] = own[0][None], own[1][None]
        return found


class PulledBack:
    """Every draw's cotangents go back through the encoder, as deviations from the first draw's.

    Args:
        problem: what is drawn.
        x: data ``[p, *event]``.
        varying: names of the proposal's tensors that depend on parameters.
        rows: cotangents pulled back at once.
    """

    def __init__(self, problem: Problem, x: Batch, varying: list[str], rows: int) -> None:
        self._problem, self._x, self._varying, self._rows = problem, x, varying, rows
        self._draws = 0
        self._first: Tensor | None = None
        self._origin: dict[str, Tensor] = {}
        self._inputs: dict[str, tuple[Tensor, str | None]] = {}
        self._sums: dict[str, Pair] = {}

    def add(self, cotangents: Tensor) -> None:
        """Add draws ``[p, r, q]``."""
        if self._first is None:
            self._first = cotangents[:, :1].clone()
            for sink, origin in self._pull(self._first):
                self._origin[sink.weight] = origin[:, 0].double()
                self._inputs[sink.weight] = sink.input.clone(), sink.bias
        self._draws += cotangents.shape[1]
        step = max(1, self._rows // len(cotangents))
        for part in torch.split(cotangents - self._first, step, dim=1):
            for sink, off in self._pull(part):
                deviations = off.double()
                own = deviations.sum(dim=1), deviations.square_().sum(dim=1)
                total = self._sums.get(sink.weight)
                self._sums[sink.weight] = own if total is None else (total[0].add_(own[0]), total[1].add_(own[1]))

    def moments(self) -> dict[str, Pair]:
        """Name to (mean, m2), each ``[p, *shape]``, float64."""
        found: dict[str, Pair] = {}
        for weight, (total, squares) in self._sums.items():
            shift = total / self._draws
            mean, m2 = self._origin[weight] + shift, (squares - total * shift).clamp_(min=0)
            inputs, bias = self._inputs[weight]
            a = inputs.double()
            found[weight] = _outer(mean, a), _outer(m2, a.square())
            if bias is not None:
                found[bias] = mean, m2
        return found

    def _pull(self, cotangents: Tensor) -> list[tuple[Sink, Tensor]]:
        """Layers and the cotangents of their outputs, ``[p, r, out]``, from those of the proposal, ``[p, r, q]``."""
        p, r, _ = cotangents.shape
        sinks = pulled_back(self._problem, self._x, self._varying, cotangents.flatten(0, 1))
        return [(sink, _cotangent(sink).view(p, r, -1)) for sink in sinks]


def pulled_back(problem: Problem, x: Batch, varying: list[str], cotangents: Tensor) -> list[Sink]:
    """The encoder's layers, met once and in plain sight, with the cotangents of n rows: point by point, ``[n, q]``."""
    rows = len(cotangents)
    copies = transform(x, lambda tensor: tensor.repeat_interleave(rows // points(x), dim=0))
    with Taps(problem.parameters) as taps:
        posterior = problem.model.proposal(copies)
    parameters = torch.cat([getattr(posterior, name).flatten(1) for name in varying], dim=1)
    torch.autograd.grad(parameters, taps.sources, cotangents, allow_unused=True)
    calls = Counter(sink.weight for sink in taps.sinks)
    return [
        sink
        for sink in taps.sinks
        if calls[sink.weight] == 1 and sink.intact and sink.cotangent is not None and sink.input.shape[:-1] == (rows,)
    ]


def _cotangent(sink: Sink) -> Tensor:
    assert sink.cotangent is not None
    return sink.cotangent


def _outer(d: Tensor, a: Tensor) -> Tensor:
    return d[:, :, None] * a[:, None, :]
