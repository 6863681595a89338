"""Draws of a loss's gradient into moments: of one batch, or of batches that are drawn anew."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snrkit.backend.memory import fresh
from snrkit.diagnostics.moments import BlockMoments
from snrkit.diagnostics.plan import Job
from snrkit.errors import NonFiniteError
from snrkit.losses.parameters import Trained
from snrkit.losses.summing import WIDE_AT_ONCE, RowMoments, stretches
from snrkit.models.blame import users_code
from snrkit.types import Array

# Numbers that are held until their moments are taken, and draws: the more of them, the less work in float64 for each.
_HELD = 2**24
_FEWEST, _MOST = 4, 64

# (draws, rows, batch, origin): writes draws, less an origin where there is one, to rows ``[n, P]``; returns the losses, None
# where they are not told.
Write = Callable[[range, Tensor, Any, Tensor | None], Sequence[Tensor | None]]
# Number of a batch to the batch.
BatchOf = Callable[[int], Any]
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
class OfBatches:
    """Moments of the draws of a block of batches that are drawn anew.

    Attributes:
        single: of one draw of each batch.
        means: of the means over the draws of a batch; None where each has one.
        within: what the draws of a batch say of it; None where it has one.
    """

    single: BlockMoments
    means: BlockMoments | None
    within: Within | None


class Rows:
    """Rows that the draws of a block are written to, as deviations from its first draw, and checked.

    Args:
        name: of the loss.
        trained: the parameters.
        rows: how many.
        write: makes draws.

    Attributes:
        held: the rows, ``[rows, P]``.
        moments: of the draws of a block.
    """

    def __init__(self, name: str, trained: Trained, rows: int, write: Write) -> None:
        self._name, self._trained, self._write = name, trained, write
        wide = torch.promote_types(trained.dtype, torch.float32)  # deviations of narrower types would lose digits
        self.held = fresh((rows, trained.layout.size), wide, trained.device)
        self.moments = RowMoments(trained.layout.size, trained.device)
        self._origin: Tensor | None = None

    @property
    def origin(self) -> Tensor:
        """The first draw of the block, ``[P]``."""
        assert self._origin is not None
        return self._origin

    def begin(self) -> None:
        """A block begins: the next draw is its first."""
        self._origin = None
        self.moments.begin()

    def fill(self, place: int, draws: range, batch: Any) -> list[Tensor | None]:
        """Write draws of a batch to the rows from one on; returns the losses, None where they are not told.

        Raises:
            NonFiniteError: the first of a block is not finite.
            ModelError: the loss's code raised.
        """
        values: list[Tensor | None] = []
        with users_code(f"'{self._name}'"):
            if self._origin is None:
                row = self.held[place : place + 1]
                values += self._write(draws[:1], row, batch, None)
                self.check(draws[:1], row, values, row)
                self._origin = row[0].clone()
                row.zero_()
            rows = self.held[place + len(values) : place + len(draws)]
            values += self._write(draws[len(values) :], rows, batch, self._origin) if len(rows) else []
        return values

    def check(self, draws: Sequence[int], rows: Tensor, values: Sequence[Tensor | None], sums: Tensor) -> None:
        """See to it that rows and losses are finite.

        Args:
            draws: the draws.
            rows: of these.
            values: their losses.
            sums: of the rows, and others that were.

        Raises:
            NonFiniteError: one is not.
        """
        told = [value.double() for value in values if value is not None]
        # A sum is finite where all it adds up is.
        if bool(torch.isfinite(torch.stack([sums.sum(dtype=torch.float64), *told])).all()):
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
    held = held_for(name, trained, job, write)
    return [fixed_block(held, draws, batch, told) for draws in job.blocks()]


def held_for(name: str, trained: Trained, job: Job, write: Write, repeats: int = 1) -> Rows:
    """As many rows as the draws of a block take at once; those of a batch, where there are several, together."""
    at_once = rows_at_once(trained, max(len(numbers) for numbers in job.blocks()) * repeats)
    return Rows(name, trained, max(1, at_once // repeats) * repeats, write)


def fixed_block(held: Rows, draws: range, batch: Any, told: Told) -> BlockMoments:
    """Moments of one block of draws of one batch; raises as ``fixed``."""
    held.begin()
    for part in parts(draws, len(held.held)):
        values, rows = held.fill(0, part, batch), held.held[: len(part)]
        held.moments.add(rows)
        held.check(part, rows, values, held.moments.sums)
        told(len(part))
    return held.moments.block(held.origin)


def redrawn(
    name: str, trained: Trained, job: Job, repeats: int, write: Write, batch: BatchOf, told: Told
) -> list[OfBatches]:
    """Moments of draws of batches drawn anew, in blocks; a draw of the job is a batch.

    Raises:
        NonFiniteError, ModelError: as ``fixed``.
        SpecError: there are no more batches.
    """
    held = held_for(name, trained, job, write, repeats)
    return [redrawn_block(trained, held, numbers, repeats, batch, told) for numbers in job.blocks()]


def redrawn_block(
    trained: Trained, held: Rows, numbers: range, repeats: int, batch_of: BatchOf, told: Told
) -> OfBatches:
    """Moments of the draws of one block of batches; raises as ``redrawn``."""
    held.begin()
    within, means = _Within(trained), _Means(trained)
    for part in parts(numbers, len(held.held) // repeats):
        draws = range(part.start * repeats, part.stop * repeats)
        values: list[Tensor | None] = []
        for number in part:
            place = len(values)
            values += held.fill(place, draws[place : place + repeats], batch_of(number))
        rows = held.held[: len(draws)]
        off = rows.view(len(part), repeats, -1)
        held.moments.add(off[:, 0])
        if repeats > 1:
            means.add(off)
            within.add(off)
        held.check(draws, rows, values, held.moments.sums if repeats == 1 else means.moments.sums)
        told(len(draws))
    single = held.moments.block(held.origin)
    if repeats == 1:
        return OfBatches(single, None, None)
    return OfBatches(single, means.block(held.origin), Within(len(numbers), within.traces() / len(numbers)))


class _Means:
    """Moments of the means over the draws of a batch.

    Args:
        trained: the parameters.
    """

    def __init__(self, trained: Trained) -> None:
        self.moments = RowMoments(trained.layout.size, trained.device)
        self._origin: Tensor | None = None

    def add(self, off: Tensor) -> None:
        """Add batches, deviations ``[batches, repeats, P]`` of their draws."""
        # Relative to the first of them: the one draw that draws are relative to may lie far from all means.
        means = off.mean(dim=1)
        if self._origin is None:
            self._origin = means[0].clone()
        self.moments.add(means.sub_(self._origin))

    def block(self, origin: Tensor) -> BlockMoments:
        """The moments of all batches; ``origin`` is what draws are deviations from, ``[P]``."""
        assert self._origin is not None
        return self.moments.block(origin.double() + self._origin)


class _Within:
    """Sum over batches of the variance within one.

    Args:
        trained: the parameters.
    """

    def __init__(self, trained: Trained) -> None:
        self._sizes = [tensor.numel() for tensor in trained.tensors]
        self._variance = torch.zeros(trained.layout.size, dtype=torch.float64, device=trained.device)

    def add(self, rows: Tensor) -> None:
        """Add batches, draws ``[batches, repeats, P]``."""
        repeats = rows.shape[1]
        for span in stretches(rows, WIDE_AT_ONCE):
            off = rows[:, 1:, span].double().sub_(rows[:, :1, span])
            total = off.sum(dim=1).square_().sum(dim=0)
            squares = off.square_().sum(dim=(0, 1)).sub_(total, alpha=1 / repeats).clamp_(min=0)
            self._variance[span].add_(squares, alpha=1 / (repeats - 1))

    def traces(self) -> Array:
        """Per tensor, ``[T]``."""
        return torch.stack([part.sum() for part in torch.split(self._variance, self._sizes)]).cpu().numpy()


def parts(draws: range, size: int) -> Iterator[range]:
    """Consecutive draws, so many at a time."""
    for start in range(draws.start, draws.stop, size):
        yield range(start, min(start + size, draws.stop))
