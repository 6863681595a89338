"""One loss measured: tried, drawn and read."""

import time
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from snrkit.backend.device import kind_of
from snrkit.diagnostics.metrics.base import Reading
from snrkit.diagnostics.moments import Moments, Rounding
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.rounding import remarks as told_by
from snrkit.estimators.base import Estimator
from snrkit.losses.asked import Asked
from snrkit.losses.crew import By, Crew
from snrkit.losses.drawing import Within, fixed, redrawn
from snrkit.losses.makers import Maker, maker
from snrkit.losses.opening import Ready
from snrkit.losses.precision import examine, named
from snrkit.losses.projecting import projected
from snrkit.losses.reading import Read, Spans, noise_parts
from snrkit.losses.seeding import Seeds
from snrkit.losses.supply import Batches
from snrkit.losses.trial import Found
from snrkit.types import Progress


@dataclass(frozen=True)
class Measured:
    """What one loss gave.

    Attributes:
        found: what its trial said.
        read: what readings are made from.
        readings: M to the readings of the mean over M repetitions.
        engine: what made the draws: ``loop`` or ``vmap``.
        dtype: the precision that it computes in.
        device: where, by name.
        parameters: digest of what was measured.
        remarks: what a user should know, in sentences.
        threads: of the processor.
        seconds: wall time of the draws and their readings.
        drawing: that of the draws alone.
    """

    found: Found
    read: Read
    readings: dict[int, list[Reading]]
    engine: str
    dtype: str
    device: str
    parameters: str
    remarks: list[str]
    threads: int
    seconds: float
    drawing: float


@dataclass(frozen=True)
class _Named:
    """What stands for an estimator where there is a loss."""

    name: str


def measured(
    ready: Ready, what: Asked, name: str, known: Found | None, progress: Progress | None, by: By | None = None
) -> Measured:
    """Everything that is asked of a loss; arguments and errors as for ``carried_out``."""
    start, told = time.perf_counter(), _Told(name, what, progress)
    batches = Batches(what.batch, Seeds(ready.streams, "batch"), ready.restart) if what.redrawn else None
    first = what.batch if batches is None else batches.draw(0)
    found = known or ready.trial(name, first)
    ready.restart.serve(found.moves, found.frozen)
    make = maker(ready, name, found, first)
    rounding = _rounding(ready, make, first, found)
    job = Job(cast("Estimator", _Named(name)), 1, 1, True, 1, what.batches)
    begin = time.perf_counter()
    crew = None if by is None else by.crew(what, name, job, found, first, told)
    read, within = _draw(what, name, job, make, batches, rounding, told, crew)
    drawing = time.perf_counter() - begin
    once = list(read.readings(what.repeats))
    readings = {M: [reading.of_average(M) for reading in once] for M in what.M}
    readings[what.M[0]] += noise_parts(read, within, what.repeats)
    lost = _add_dsnr(readings, what, found, read, make, name, told, crew)
    remarks = [*found.remarks(name), *_on_constants(read, found, name), *make.remarks, *_on_rounding(read, name), *lost]
    device = kind_of(what.trained.device)
    return Measured(
        found, read, readings, make.engine, named(what.trained.own, found.narrowest), device,
        ready.digest(), remarks, torch.get_num_threads(), time.perf_counter() - start, drawing,
    )  # fmt: skip


def _draw(
    what: Asked, name: str, job: Job, make: Maker, batches: Batches | None, rounding: Rounding, told: "_Told",
    crew: Crew | None,
) -> tuple[Read, list[Within]]:  # fmt: skip
    layout, blocks, trained = what.trained.layout, what.trained.blocks, what.trained
    if batches is None:
        drawn = crew.fixed() if crew else fixed(name, trained, job, make.write, what.batch, told)
        return Read(job, layout, blocks, Moments(drawn, rounding)), []
    given = name, trained, job, what.repeats, make.write, batches.draw, told
    found = crew.redrawn(batches.draw) if crew else redrawn(*given)
    means = [part.means for part in found if part.means is not None]
    within = [part.within for part in found if part.within is not None]
    single = Moments([part.single for part in found], rounding)
    return Read(job, layout, blocks, single, Moments(means) if means else None), within


def _rounding(ready: Ready, make: Maker, batch: Any, found: Found) -> Rounding:
    def write(draw: int, row: Tensor, given: Any) -> None:
        make.one(draw, row, given)

    trained = ready.trained
    return examine(write, batch, ready.held, trained.layout.size, trained.own, found.narrowest)


def _on_constants(read: Read, found: Found, name: str) -> list[str]:
    if not found.random or read.moments.merged()[2].any():
        return []
    return [
        f"'{name}' has the same gradient in every draw, although it draws: does it set a seed itself (torch.manual_seed)?"
    ]


def _on_rounding(read: Read, name: str) -> list[str]:
    verdict = read.moments.verdict
    said = [] if verdict is None else told_by({read.job: verdict}, read.layout)
    return [f"'{name}': {sentence.partition(': ')[2]}" for sentence in said]


def _add_dsnr(
    readings: dict[int, list[Reading]], what: Asked, found: Found, read: Read, make: Maker, name: str, told: "_Told",
    crew: Crew | None,
) -> list[str]:  # fmt: skip
    """Add the DSNR of every M where it is asked for and can be had; returns what is lost, in sentences."""
    if not what.dsnr:
        return []
    if not found.reproducible:
        return [f"no DSNR of '{name}', whose draws cannot be made again"]
    fewest = min(len(draws) for draws in read.job.blocks())
    spans, many = Spans(read, what.trained.groups), [M for M in what.M if fewest >= M]
    if many:
        onto = spans.onto(many)
        drawn = crew.projected(onto) if crew else projected(what.trained, read.job, make.write, what.batch, onto, told)
        for M in many:
            readings[M] += spans.readings(M, drawn)
    lost = [str(M) for M in what.M if M not in many]
    return [f"no DSNR of '{name}' at M={','.join(lost)}: a block of draws has fewer; give more draws"] if lost else []


class _Told:
    """Tells how far the draws are."""

    def __init__(self, name: str, what: Asked, progress: Progress | None) -> None:
        self._name, self._progress = name, progress
        self._done, self._total = 0, what.batches * what.repeats * (2 if what.dsnr else 1)

    def __call__(self, draws: int) -> None:
        self._done += draws
        if self._progress is not None:
            self._progress(self._done, self._total, self._name)
