"""Draws of a loss's gradient into moments: of one batch, or of batches that are drawn anew."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snrkit.diagnostics.moments import BlockMoments, PointMoments
from snrkit.diagnostics.plan import Job
from snrkit.errors import NonFiniteError, SpecError
from snrkit.losses.parameters import Trained
from snrkit.losses.seeding import Seeds
from snrkit.models.blame import users_code
from snrkit.types import Array

# Numbers that are held until their moments are taken, and draws: the more of them, the less work in float64 for each.
_HELD = 2**24
_FEWEST, _MOST = 4, 64
# Numbers whose moments are taken at once: they stay in cache.
_AT_ONCE = 2**18

# (draws, rows, batch): writes draws to rows ``[n, P]``; returns the losses, None where they are not told.
Write = Callable[[range, Tensor, Any], Sequence[Tensor | None]]
# Called with how many draws were made.
Told = Callable[[int], None]


@dataclass(frozen=True)
class Within:
    """Monte Carlo parts of a block of batches.

    Attributes:
        batches: how many.
        traces: mean over batches of the variance within one, per tensor, ``[T]``.
    """

    batches: int
    traces: Array


@dataclass(frozen=True)
class Nested:
    """Moments of draws of batches that are drawn anew, block by block.

    Attributes:
        single: of one draw of each batch.
        means: of the means over the draws of a batch; None where each has one.
        within: what the draws of a batch say of it; empty where it has one.
    """

    single: list[BlockMoments]
    means: list[BlockMoments] | None
    within: list[Within]


class Rows:
    """Rows that gradients are written to, checked when they are full.

    Args:
        name: of the loss.
        trained: the parameters.
        rows: how many.
    """

    def __init__(self, name: str, trained: Trained, rows: int) -> None:
        self._name, self._trained = name, trained
        self.held = torch.empty(rows, trained.layout.size, dtype=trained.dtype, device=trained.device)

    def check(self, draws: Sequence[int], values: Sequence[Tensor | None], means: Sequence[Tensor]) -> None:
        """See to it that the first rows, which are of these draws, are finite, and the losses too.

        Args:
            draws: the draws.
            values: their losses.
            means: of the rows, in parts.

        Raises:
            NonFiniteError: one is not.
        """
        rows = self.held[: len(draws)]
        told = [value.double() for value in values if value is not None]
        # A sum is finite where all it adds up is.
        if bool(torch.isfinite(torch.stack([*(mean.sum() for mean in means), *told])).all()):
            return
        for draw, row, value in zip(draws, rows, values, strict=True):
            lost = value is not None and not bool(torch.isfinite(value))
            spans = self._trained.layout.blocks.items()
            bad = [n for n, b in spans if n in self._trained.named and not bool(torch.isfinite(row[b]).all())]
            if bad or lost:
                where = "the loss" if lost else f"the gradient of {bad[0]}"
                problem = f"{where} is NaN or infinite in draw {draw}"
                raise NonFiniteError(f"loss '{self._name}'", problem, "check the model's parameters and the batch")


def rows_at_once(trained: Trained, most: int) -> int:
    """How many draws are held."""
    return max(1, min(most, _MOST, max(_FEWEST, _HELD // trained.layout.size)))


def fixed(name: str, trained: Trained, job: Job, write: Write, batch: Any, told: Told) -> list[BlockMoments]:
    """Moments of the draws of one batch, in blocks.

    Raises:
        NonFiniteError: a gradient or a loss is NaN or infinite.
        ModelError: the loss's code raised.
    """
    blocks = []
    held = Rows(name, trained, rows_at_once(trained, max(len(draws) for draws in job.blocks())))
    for draws in job.blocks():
        points = PointMoments()
        for part in parts(draws, len(held.held)):
            with users_code(f"'{name}'"):
                values = write(part, held.held[: len(part)], batch)
            points.add(in_parts(held.held[: len(part), None]))
            held.check(part, values, points.mean)
            told(len(part))
        blocks.append(BlockMoments.fold([points], 1).host())
    return blocks


def redrawn(
    name: str, trained: Trained, job: Job, repeats: int, write: Write, batches: "Batches", told: Told
) -> Nested:
    """Moments of draws of batches drawn anew; a draw of the job is a batch.

    Raises:
        NonFiniteError, ModelError: as ``fixed``.
        SpecError: there are no more batches.
    """
    found = Nested([], [] if repeats > 1 else None, [])
    together = rows_at_once(trained, max(len(numbers) for numbers in job.blocks()) * repeats) // repeats
    held = Rows(name, trained, max(1, together) * repeats)
    for numbers in job.blocks():
        single, means, within = PointMoments(), PointMoments(), torch.zeros(())
        for part in parts(numbers, max(1, together)):
            rows, values = _of_batches(name, part, repeats, held, write, batches)
            single.add(in_parts(rows[:, :1]))
            total = rows.mean(dim=1, keepdim=True)
            held.check(range(part.start * repeats, part.stop * repeats), values, [total])
            if repeats > 1:
                means.add(in_parts(total))
                within = within + _variances(rows, trained)
            told(len(part) * repeats)
        found.single.append(BlockMoments.fold([single], 1).host())
        if found.means is not None:
            found.means.append(BlockMoments.fold([means], 1).host())
            found.within.append(Within(len(numbers), (within / len(numbers)).cpu().numpy()))
    return found


def in_parts(rows: Tensor) -> list[Tensor]:
    """Draws ``[n, 1, P]`` as draws of a few coordinates after another."""
    return list(torch.split(rows, max(1, _AT_ONCE // len(rows)), dim=2))


def _of_batches(
    name: str, numbers: range, repeats: int, held: Rows, write: Write, batches: "Batches"
) -> tuple[Tensor, list[Tensor | None]]:
    """The draws of some batches, ``[batches, repeats, P]``, and their losses."""
    draws = range(numbers.start * repeats, numbers.stop * repeats)
    values: list[Tensor | None] = []
    for place, number in enumerate(numbers):
        batch = batches.draw(number)
        own = slice(place * repeats, (place + 1) * repeats)
        with users_code(f"'{name}'"):
            values += write(draws[own], held.held[own], batch)
    return held.held[: len(draws)].view(len(numbers), repeats, -1), values


def _variances(rows: Tensor, trained: Trained) -> Tensor:
    """Of draws ``[batches, repeats, P]`` the trace per tensor of the variance within a batch, summed: ``[T]``, float64."""
    variance = rows.var(dim=1).double().sum(dim=0)
    sizes = [tensor.numel() for tensor in trained.tensors]
    return torch.stack([part.sum() for part in torch.split(variance, sizes)])


def parts(draws: range, size: int) -> Iterator[range]:
    """Consecutive draws, so many at a time."""
    for start in range(draws.start, draws.stop, size):
        yield range(start, min(start + size, draws.stop))


class Batches:
    """Batches by number, from a function that gives another at each call.

    Args:
        draw: the function.
        seeds: what the global generators are set to before each call.
    """

    def __init__(self, draw: Callable[[], Any], seeds: Seeds) -> None:
        self._draw, self._seeds = draw, seeds
        self._first: Any = None  # a trial has it before the draws do

    def draw(self, number: int) -> Any:
        """One batch.

        Raises:
            SpecError: there is none, or no more.
            ModelError: the function raised.
        """
        if number == 0 and self._first is not None:
            return self._first
        self._seeds.set(number)
        with users_code("drawing a batch"):
            try:
                batch = self._draw()
            except StopIteration:
                problem = f"there is none left after {number}"
                raise SpecError("batch", problem, "give a function that never ends, or fewer draws") from None
        if batch is None:
            raise SpecError("batch", "the function returns None", "return the batch that the loss is called with")
        if number == 0:
            self._first = batch
        return batch
