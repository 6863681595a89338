"""What a draw costs by the loop and by vmap, predicted from the operations of a draw: the same answer on every machine.

A draw is made twice with few samples, its operations are counted (calls, multiply-adds of products and of convolutions,
bytes written), and what grows with the samples is carried on. Of a CPU the prices are those of one core of a common
processor; only their ratios matter, and they err by a factor of 1.3 or so. Those of a GPU are less certain (see ``GPU``).
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
_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)


@dataclass(frozen=True)
class Prices:
    """What operations cost on a kind of device.

    Attributes:
        call: seconds per operation, one by one.
        batched_call: the same, batched by vmap.
        flops: per second, of products.
        convolved: of convolutions, one by one.
        batched_convolved: of convolutions with weights of each draw's own, batched by vmap.
        bytes: written per second.
        merged_one: seconds per coordinate to merge a gradient into moments, by itself.
        merged: the same, many at once.
        tiled: the same, tile by tile.
    """

    call: float
    batched_call: float
    flops: float
    convolved: float
    batched_convolved: float
    bytes: float
    merged_one: float
    merged: float
    tiled: float


CPU = Prices(
    call=8e-6, batched_call=20e-6, flops=150e9, convolved=20e9, batched_convolved=16e9, bytes=4e9,
    merged_one=8e-9, merged=3e-9, tiled=1.2e-9,
)  # fmt: skip
# Calls from the time of a draw by the loop and by vmap on an H200, products from float32 batches there, both of the papers'
# model; convolutions, bytes and merging were not measured, but reckoned from what such a card can do.
GPU = Prices(
    call=12e-6, batched_call=24e-6, flops=35e12, convolved=15e12, batched_convolved=1e12, bytes=2e12,
    merged_one=6e-11, merged=1.6e-11, tiled=6e-12,
)  # fmt: skip


def prices_on(device: torch.device) -> Prices:
    """The prices of a kind of device."""
    return GPU if device.type == "cuda" else CPU


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
        prices: of the device.
    """

    work: Work
    encoder: Work
    samples: int
    coordinates: int
    units: int
    rows: int
    block: int
    prices: Prices = CPU

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
        price = self.prices
        return (
            price.call * self.work.calls
            + self._products(self.work)
            + self._moved()
            + price.merged_one * self.coordinates
        )

    def vmap(self, slow_calls: int = 0) -> float:
        """Seconds by vmap, where so many operations are taken one by one."""
        price = self.prices
        calls = price.batched_call * self.work.calls / self.units + price.call * slow_calls
        products = self._products(self.work, price.batched_convolved)
        return calls + products + self._moved() + price.merged * self.coordinates

    def factors(self, coordinates: int, width: int, by_jacobian: bool) -> float:
        """Seconds by factors, without what others draw.

        Args:
            coordinates: that factors serve.
            width: of the proposal.
            by_jacobian: how the encoder's moments are made (see encoder.py).
        """
        price = self.prices
        passes = 2 / 3 * self._products(self.work) + self._moved()
        sums = coordinates * (2 * self.samples / price.flops + price.tiled)
        encoders = 0.5 * width / self.block if by_jacobian else 1.0
        calls = price.batched_call * self.work.calls / self.rows
        return calls + passes + sums + encoders * self._products(self.encoder)

    def saved(self, coordinates: int, by: str) -> float:
        """Seconds that vmap or the loop saves if so many coordinates need not be drawn."""
        merged = self.prices.merged if by == "vmap" else self.prices.merged_one
        return coordinates * (2 * self.samples / self.prices.flops + merged)

    def _moved(self) -> float:
        # The gradients themselves count with their merging.
        return max(0.0, self.work.moved - 4 * self.coordinates) / self.prices.bytes

    def _products(self, work: Work, convolved: float | None = None) -> float:
        return work.flops / self.prices.flops + work.convolved / (convolved or self.prices.convolved)


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
        prices_on(problem.device),
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
