"""Run the draws of a plan, block by block."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from snrkit.backend.memory import in_words, out_of_memory, require_memory, within_memory
from snrkit.core.batches import Batch
from snrkit.core.logweights import LogWeights
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import Engine, PassSize, pass_size
from snrkit.diagnostics.engines.factors import FactorEngine
from snrkit.diagnostics.metrics.base import Family
from snrkit.diagnostics.moments import BlockMoments, Moments, PointMoments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.rounding import Context, examine
from snrkit.diagnostics.seeding import Seeding
from snrkit.diagnostics.store import Store
from snrkit.diagnostics.weights import WeightTally
from snrkit.errors import NonFiniteError, ResourceError
from snrkit.interrupt import Interrupted
from snrkit.models.base import LatentModel
from snrkit.models.state import Snapshot

Part = TypeVar("Part")
Progress = Callable[[float, float, str], None]
MINIMUM_BLOCKS = 2
# Bytes of moments from which on a remark says how many they are.
_WORTH_SAYING = 10**9
# Seconds of one job, and the share of them that direct draws would take, at which a remark recommends those.
_LONG, _MUCH = 10.0, 0.4
# Means and variances of single data points, one for each coordinate and block of draws, at which a remark says so: minutes.
_MANY_ACCOUNTS = 10**10


def problem_of(model: LatentModel, x: Batch, job: Job, streams: Streams, restart: Snapshot | None = None) -> Problem:
    """What a job draws, for data ``[B, *event]``; arguments as for ``Drawer``."""
    if job.direct:
        problem = Problem.direct(model, x, job.M, job.K, streams, job.noise)
    else:
        problem = Problem.units(model, x, job.K, streams, job.groups, job.noise)
    seeded = None if restart is None else Seeding(streams, job.M, job.K, restart, job.noise)
    return replace(problem, planned=job.draws, seeded=seeded)


class Drawer:
    """Draws jobs of one model at fixed data.

    Args:
        model: the model.
        x: data ``[B, *event]``.
        streams: root of the noise.
        engine: registered name of the engine.
        chunk: draws in one pass; None lets shapes decide.
        store: finished blocks.
        progress: called with (done, total, note); units are importance samples.
        stop: asked after every block; True ends the draws.
        restart: the state of a model that keeps or draws something itself: its draws are made one by one, each from there
            and with seeded generators; None: it is a function of its noise.

    Attributes:
        remarks: what is worth knowing of the draws made so far, in sentences.
        undivided: the model's samples depend on one another, so that a draw may not be made in portions of them.
    """

    def __init__(
        self,
        model: LatentModel,
        x: Batch,
        streams: Streams,
        *,
        engine: str,
        chunk: int | None,
        store: Store,
        progress: Progress | None,
        stop: Callable[[], bool],
        restart: Snapshot | None = None,
    ) -> None:
        self.restart = restart
        self.model, self.x, self.streams, self.chunk = model, x, streams, chunk
        self.engine: Engine = ENGINES.load(engine)()
        self.remarks: list[str] = []
        self.undivided = restart is not None
        self._store, self._progress, self._stop = store, progress, stop
        self._done = self._total = 0
        self._largest: int | None = None  # importance samples in one pass, once memory has run out

    def expect(self, jobs: Sequence[Job]) -> None:
        """Announce what is to be drawn, for the progress."""
        self._total = sum(job.samples for job in jobs)

    def moments(self, job: Job) -> Moments:
        """The moments of a job.

        Raises:
            NonFiniteError: a gradient is NaN or infinite.
            Interrupted: asked to stop with fewer than two blocks finished.
        """
        problem, size = self._opened(job)
        self._require_room(problem, job)
        self._hint(problem, job)
        blocks = []
        for draws in job.blocks():
            block = self._store.load(job, draws)
            if block is None:
                if self._stop():
                    break
                block = BlockMoments.fold(self._points(problem, job, draws, size), problem.groups)
                _require_finite(block, job, draws)
                self._store.save(job, draws, block)
            blocks.append(block)
            self.advance(job, len(draws))
        if len(blocks) < MINIMUM_BLOCKS:
            raise Interrupted
        samples = size.bounded(self._largest).samples
        return Moments(blocks, examine(problem, job.estimator, samples, _context(problem)))

    def serving(self, job: Job) -> dict[str, str]:
        """Name of each parameter to the engine that computes its moments."""
        problem, size = self._opened(job)
        if problem.samples_per_draw > size.bounded(self._largest).samples:
            return dict.fromkeys(problem.layout.names, "loop")  # every engine takes such a draw in parts
        return self.engine.serving(problem, job.estimator)

    def minibatch_gradients(self, job: Job, draws: range) -> Iterator[list[Tensor]]:
        """Draws of the minibatch gradient, float64: portions of tensors ``[r, *shape]``, the mean over groups."""
        problem, size = self._opened(job)
        step = min(len(draws), size.bounded(self._largest).units)
        for start in range(draws.start, draws.stop, step):
            portion = range(start, min(start + step, draws.stop))
            yield [total.div_(problem.groups) for total in self._sum(problem, job, portion, size)]

    def weight_statistics(self, job: Job, draws: int, families: Sequence[Family] = ()) -> WeightTally:
        """What the log-weights of the first draws say, and the statistics of these metrics.

        Raises:
            NonFiniteError: one is NaN or +inf.
        """
        problem, size = self._opened(job)
        self._require_whole(problem, size)
        alone = self.undivided or not problem.noise.held
        step = 1 if alone else max(1, size.samples // (job.M * job.K))
        tally = WeightTally(job, problem.groups, draws, families)
        with torch.no_grad(), within_memory("K", *_demand(problem)):
            for group, start in itertools.product(range(problem.groups), range(0, draws, step)):
                portion = range(start, min(start + step, draws))
                tally.add(group, portion, self._log_weights(problem, group, portion, size.samples))
        return tally

    def _log_weights(self, problem: Problem, group: int, draws: range, samples: int) -> Tensor:
        """Log-weights of several draws of a group, ``[Bg, len(draws) M, K]``."""
        x, Bg = problem.group(group), problem.points_per_group
        if self.undivided:
            (draw,) = draws
            with _context(problem)(group, draw):
                weights: LogWeights = self.model(x, problem.noise.draw(group, draws)[0])
                return weights.log_w
        if problem.noise.held:
            noise = problem.noise.draw(group, draws).transpose(0, 1).flatten(1, 2)
            portions = torch.split(noise, max(1, samples // (noise.shape[0] * noise.shape[1])), dim=2)
            return torch.cat([self.model(x, portion).log_w for portion in portions], dim=2)
        (draw,) = draws  # such a draw is never one of several
        found = torch.empty(Bg, 1, problem.M * problem.K, dtype=problem.dtype, device=problem.device)
        start = 0
        for portion in problem.noise.portions(group, draw, max(1, samples // Bg)):
            found[:, :, start : start + portion.shape[2]] = self.model(x, portion).log_w
            start += portion.shape[2]
        return found.view(Bg, problem.M, problem.K)

    def _opened(self, job: Job) -> tuple[Problem, PassSize]:
        problem = problem_of(self.model, self.x, job, self.streams, self.restart)
        return problem, pass_size(problem, job.estimator, self.chunk)

    def _require_whole(self, problem: Problem, size: PassSize) -> None:
        """See to it that a draw fits in one pass where it may not be divided.

        Raises:
            ResourceError: it does not.
        """
        if self.undivided and problem.samples_per_draw > size.samples:
            wrong = "a draw in which samples depend on one another, or the model draws or keeps something, does not fit"
            remedy = "give a smaller K or fewer points, or measure in evaluation mode"
            raise ResourceError(f"K={problem.K}", f"{wrong} in one pass", remedy)

    def _hint(self, problem: Problem, job: Job) -> None:
        """Say so where drawing the minibatch as a whole would be much faster."""
        if job.direct or problem.groups == 1 or problem.seeded is not None or not isinstance(self.engine, FactorEngine):
            return
        if problem.groups * len(job.blocks()) * problem.layout.size > _MANY_ACCOUNTS:
            remark = (
                f"units keep accounts of {problem.groups:,} data points of {problem.layout.size:,} coordinates, which is "
                "most of the time; fewer points take less, and the minibatch as a whole (direct=True, --direct) keeps none"
            )
            if remark not in self.remarks:
                self.remarks.append(remark)
        units, direct = self.engine.prices(problem, job.estimator)
        if units * job.draws > _LONG and direct < _MUCH * units:
            remark = (
                f"K={job.K}: drawing the minibatch as a whole (direct=True, --direct) is predicted to take "
                f"{direct / units:.2g} of the time, for one M"
            )
            if not any(said.startswith(f"K={job.K}: drawing") for said in self.remarks):
                self.remarks.append(remark)

    def _require_room(self, problem: Problem, job: Job) -> None:
        """What the blocks of a job take is known before any draw.

        Raises:
            ResourceError: it is more than this machine has.
        """
        count = len(job.blocks())
        # Means and variances of the blocks, again as offsets and sums of squares, and a gradient's own moments.
        size = 8 * problem.layout.size * (4 * count + 6)
        asked = f"{count} blocks of the moments of {problem.layout.size:,} coordinates"
        remedy = "measure fewer parameters (freeze the others), or fewer than 40 draws, which fall into fewer blocks"
        require_memory("draws", asked, size, remedy)
        remark = f"{asked} take {in_words(size)} of memory"
        if size > _WORTH_SAYING and remark not in self.remarks:
            self.remarks.append(remark)

    def advance(self, job: Job, draws: int) -> None:
        """Report that so many draws of a job are done."""
        self._done += draws * job.M * job.K
        if self._progress is not None:
            self._progress(self._done, self._total, f"{job.estimator.name} K={job.K}")

    def stopped(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop()

    def _points(self, problem: Problem, job: Job, draws: range, size: PassSize) -> Iterator[PointMoments]:
        """Moments of all groups, some at a time."""
        return self._in_slices(
            lambda groups, fitting: self.engine.moments(problem, job.estimator, groups, draws, fitting),
            problem, len(draws), size,
        )  # fmt: skip

    def _sum(self, problem: Problem, job: Job, draws: range, size: PassSize) -> list[Tensor]:
        """The sum over groups of each draw, tensors ``[len(draws), *shape]``, float64."""

        def part(groups: range, fitting: PassSize) -> list[Tensor]:
            portions = self.engine.gradients(problem, job.estimator, groups, draws, fitting)
            sums = [[tensor.sum(dim=1, dtype=torch.float64) for tensor in portion] for portion in portions]
            return [torch.cat(tensors) for tensors in zip(*sums, strict=True)]

        parts = self._in_slices(part, problem, len(draws), size)
        total = next(parts)
        for more in parts:
            for tensor, other in zip(total, more, strict=True):
                tensor.add_(other)
        return total

    def _in_slices(
        self, compute: Callable[[range, PassSize], Part], problem: Problem, draws: int, size: PassSize
    ) -> Iterator[Part]:
        """What is computed of so many draws of all groups, as many groups at a time as fit.

        Where memory runs out the passes are halved; what did not fit once is not tried again.

        Raises:
            ResourceError: a pass over single samples does not fit.
        """
        start = 0
        while start < problem.groups:
            fitting = size.bounded(self._largest)
            self._require_whole(problem, fitting)
            # As many draws as fit, then as many points: a portion of noise then belongs to few streams.
            stop = min(start + max(1, fitting.units // draws), problem.groups)
            try:
                part = compute(range(start, stop), fitting)
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                if fitting.samples == 1:
                    asked, remedy = _demand(problem)
                    raise ResourceError("K", f"memory ran out with {asked}", remedy) from None
                self._largest = fitting.samples // 2
            else:
                yield part
                start = stop


def _demand(problem: Problem) -> tuple[str, str]:
    """What a draw asks of the memory, and what to do where it has not that much."""
    asked = f"{problem.samples_per_draw:,} importance samples in a draw and {problem.layout.size:,} coordinates"
    return asked, "give a smaller K, fewer data points, or freeze parameters that are not wanted"


def _context(problem: Problem) -> Context:
    """In what each draw is made."""
    return (lambda *_: nullcontext()) if problem.seeded is None else problem.seeded.at


def _require_finite(block: BlockMoments, job: Job, draws: range) -> None:
    if not np.isfinite(block.variance).all():
        where = f"K={job.K}, draws {draws.start} to {draws.stop - 1}"
        problem = f"NaN or infinite for {job.estimator.name} at {where}"
        raise NonFiniteError("gradient", problem, "check the model's parameters")
