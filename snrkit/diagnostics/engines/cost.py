"""What a draw costs by the loop and by vmap, predicted from the operations of a draw: the same answer on every machine.

A draw is made twice with few samples, its operations are counted (calls, multiply-adds of products and of convolutions,
bytes written), and what grows with the samples is carried on. The prices are those of one core of a common processor; only
their ratios matter, and they err by a factor of 1.3 or so.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from snrkit.diagnostics.engines.base import pass_size, plain_gradient
from snrkit.diagnostics.engines.probe import small
from snrkit.diagnostics.plan import BLOCKS_OF_DRAWS
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator

_STEPS = 8
# Seconds per operation, one by one and batched by vmap.
_CALL, _BATCHED_CALL = 8e-6, 20e-6
# Flops per second: of products; of convolutions, one by one and batched. Bytes written per second.
_FLOPS, _CONVOLVED, _BATCHED_CONVOLVED, _BYTES = 150e9, 20e9, 16e9, 4e9
# Seconds per coordinate to merge a gradient into moments: by itself, many at once, and tile by tile in cache.
_MERGED_ONE, _MERGED, _TILED = 8e-9, 3e-9, 1.2e-9
_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)


@dataclass(frozen=True)
class Work:
    """Operations of a draw.

    Attributes:
        calls: operations that torch dispatched.
        flops: of matrix products.
        convolved: flops of convolutions.
        moved: bytes of results.
    """

    calls: float = 0.0
    flops: float = 0.0
    convolved: float = 0.0
    moved: float = 0.0

    def extrapolated(self, other: "Work", steps: float) -> "Work":
        """What it becomes if so many times the difference to ``other`` is added."""
        return Work(*(max(0.0, a + (b - a) * steps) for a, b in zip(_fields(self), _fields(other), strict=True)))


def _fields(work: Work) -> tuple[float, ...]:
    return work.calls, work.flops, work.convolved, work.moved


@dataclass(frozen=True)
class Task:
    """One draw of one group, as far as its price depends on it.

    Attributes:
        work: operations of a plain backward pass.
        encoder: of these, those that are there however few samples there are.
        samples: importance samples.
        coordinates: of the gradient.
        units: draws that one pass of vmap takes.
        rows: draws that one pass of factors takes.
        block: draws for which the encoder's part of factors is done once.
    """

    work: Work
    encoder: Work
    samples: int
    coordinates: int
    units: int
    rows: int
    block: int

    def of_points(self, points: int) -> "Task":
        """A draw of so many data points together, which takes no more calls."""
        more, encoder = (
            Work(work.calls, points * work.flops, points * work.convolved, points * work.moved)
            for work in (self.work, self.encoder)
        )
        units, rows = max(1, self.units // points), max(1, self.rows // points)
        return replace(self, work=more, encoder=encoder, samples=points * self.samples, units=units, rows=rows)

    def loop(self) -> float:
        """Seconds by the loop."""
        return _CALL * self.work.calls + _products(self.work) + self._moved() + _MERGED_ONE * self.coordinates

    def vmap(self, slow_calls: int = 0) -> float:
        """Seconds by vmap, where so many operations are taken one by one."""
        calls = _BATCHED_CALL * self.work.calls / self.units + _CALL * slow_calls
        return calls + _products(self.work, _BATCHED_CONVOLVED) + self._moved() + _MERGED * self.coordinates

    def factors(self, coordinates: int, width: int, by_jacobian: bool) -> float:
        """Seconds by factors, without what others draw.

        Args:
            coordinates: that factors serve.
            width: of the proposal.
            by_jacobian: how the encoder's moments are made (see encoder.py).
        """
        passes = 2 / 3 * _products(self.work) + self._moved()
        sums = coordinates * (2 * self.samples / _FLOPS + _TILED)
        encoders = 0.5 * width / self.block if by_jacobian else 1.0
        return _BATCHED_CALL * self.work.calls / self.rows + passes + sums + encoders * _products(self.encoder)

    def saved(self, coordinates: int, by: str) -> float:
        """Seconds that vmap or the loop saves if so many coordinates need not be drawn."""
        merged = _MERGED if by == "vmap" else _MERGED_ONE
        return coordinates * (2 * self.samples / _FLOPS + merged)

    def _moved(self) -> float:
        # The gradients themselves count with their merging.
        return max(0.0, self.work.moved - 4 * self.coordinates) / _BYTES


def _products(work: Work, convolved: float | None = None) -> float:
    return work.flops / _FLOPS + work.convolved / (convolved or _CONVOLVED)


def task_of(problem: Problem, estimator: Estimator) -> Task:
    """What one draw of one group takes, for the passes that shapes decide."""
    least, fewest = estimator.few_samples
    apart = _STEPS * (fewest - least)
    few, more = (_counted(small(problem, K), estimator) for K in (fewest, fewest + apart))
    own = small(problem, 1)
    drawn = own.points_per_group * own.M
    steps = (problem.samples_per_draw / drawn - fewest) / apart
    size = pass_size(problem, estimator, None)
    block = max(2, problem.planned // BLOCKS_OF_DRAWS)
    return Task(
        few.extrapolated(more, steps), few.extrapolated(more, -fewest / apart),
        problem.samples_per_draw, problem.layout.size,
        min(size.units, block), min(max(1, size.samples // problem.samples_per_draw), block), block,
    )  # fmt: skip


def _counted(problem: Problem, estimator: Estimator) -> Work:
    noise = problem.noise.draw(0, range(1))[0]
    with _Counter() as counter:
        plain_gradient(problem, estimator, problem.group(0), noise)
    return Work(counter.calls, counter.flops, counter.convolved, counter.moved)


def _address(value: object) -> int | None:
    """Of a tensor's numbers; None of what has none of its own (a sparse tensor, a number)."""
    dense = isinstance(value, Tensor) and value.layout == torch.strided
    return value.untyped_storage().data_ptr() if dense else None  # type: ignore[attr-defined]


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = self.flops = self.convolved = self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        results = out if isinstance(out, tuple | list) else (out,)
        given = {_address(argument) for argument in args}
        # A view, or a result written in place, moves no memory of its own.
        self.moved += sum(result.nbytes for result in results if _address(result) not in given | {None})
        packet = func._overloadpacket
        if packet in flop_registry:
            flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            if packet in _CONVOLUTIONS:
                self.convolved += flops
            else:
                self.flops += flops
        return out
