"""Run the draws of a plan, block by block."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import Engine, PassSize, pass_size
from snrkit.diagnostics.moments import BlockMoments, Moments, PointMoments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.rounding import examine
from snrkit.diagnostics.store import Store
from snrkit.diagnostics.weights import WeightTally
from snrkit.errors import NonFiniteError
from snrkit.interrupt import Interrupted
from snrkit.models.base import LatentModel
from snrkit.models.state import Snapshot
from snrkit.streams import Streams

Part = TypeVar("Part")
Progress = Callable[[float, float, str], None]
MINIMUM_BLOCKS = 2


def problem_of(model: LatentModel, x: Tensor, job: Job, streams: Streams) -> Problem:
    """What a job draws, for data ``[B, *event]``."""
    if job.direct:
        return Problem.direct(model, x, job.M, job.K, streams)
    return Problem.units(model, x, job.K, streams, job.groups)


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
    """

    def __init__(
        self,
        model: LatentModel,
        x: Tensor,
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
        problem = problem_of(self.model, self.x, job, self.streams)
        size = pass_size(problem, job.estimator, self.chunk)
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
        return Moments(blocks, examine(problem, job.estimator, size.bounded(self._largest).samples))

    def serving(self, job: Job) -> dict[str, str]:
        """Name of each parameter to the engine that computes its moments."""
        problem = problem_of(self.model, self.x, job, self.streams)
        size = pass_size(problem, job.estimator, self.chunk).bounded(self._largest)
        if problem.samples_per_draw > size.samples:
            return dict.fromkeys(problem.layout.names, "loop")  # every engine takes such a draw in parts
        return self.engine.serving(problem, job.estimator)

    def minibatch_gradients(self, job: Job, draws: range) -> Iterator[list[Tensor]]:
        """Draws of the minibatch gradient, float64: portions of tensors ``[r, *shape]``, the mean over groups."""
        problem = problem_of(self.model, self.x, job, self.streams)
        size = pass_size(problem, job.estimator, self.chunk)
        step = min(len(draws), size.bounded(self._largest).units)
        for start in range(draws.start, draws.stop, step):
            portion = range(start, min(start + step, draws.stop))
            yield [total.div_(problem.groups) for total in self._sum(problem, job, portion, size)]

    def weight_statistics(self, job: Job, draws: int) -> WeightTally:
        """What the log-weights of the first draws say.

        Raises:
            NonFiniteError: one is NaN or +inf.
        """
        problem = problem_of(self.model, self.x, job, self.streams)
        samples = pass_size(problem, job.estimator, self.chunk).samples
        step = max(1, samples // (job.M * job.K))
        tally = WeightTally(job, problem.groups, draws)
        with torch.no_grad():
            for group, start in itertools.product(range(problem.groups), range(0, draws, step)):
                portion = range(start, min(start + step, draws))
                tally.add(group, portion, self._log_weights(problem, group, portion, samples))
        return tally

    def _log_weights(self, problem: Problem, group: int, draws: range, samples: int) -> Tensor:
        """Log-weights of several draws of a group, ``[Bg, len(draws) M, K]``, float64."""
        noise = problem.noise.draw(group, draws).transpose(0, 1).flatten(1, 2)
        portions = torch.split(noise, max(1, samples // (noise.shape[0] * noise.shape[1])), dim=2)
        return torch.cat([self.model(problem.x[group], portion).log_w for portion in portions], dim=2).double()

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
            problem.groups, len(draws), size,
        )  # fmt: skip

    def _sum(self, problem: Problem, job: Job, draws: range, size: PassSize) -> list[Tensor]:
        """The sum over groups of each draw, tensors ``[len(draws), *shape]``, float64."""

        def part(groups: range, fitting: PassSize) -> list[Tensor]:
            portions = self.engine.gradients(problem, job.estimator, groups, draws, fitting)
            sums = [[tensor.sum(dim=1, dtype=torch.float64) for tensor in portion] for portion in portions]
            return [torch.cat(tensors) for tensors in zip(*sums, strict=True)]

        parts = self._in_slices(part, problem.groups, len(draws), size)
        total = next(parts)
        for more in parts:
            for tensor, other in zip(total, more, strict=True):
                tensor.add_(other)
        return total

    def _in_slices(
        self, compute: Callable[[range, PassSize], Part], groups: int, draws: int, size: PassSize
    ) -> Iterator[Part]:
        """What is computed of so many draws of all groups, as many groups at a time as fit.

        Where memory runs out the passes are halved; what did not fit once is not tried again.
        """
        start = 0
        while start < groups:
            fitting = size.bounded(self._largest)
            # As many draws as fit, then as many points: a portion of noise then belongs to few streams.
            stop = min(start + max(1, fitting.units // draws), groups)
            try:
                part = compute(range(start, stop), fitting)
            except torch.OutOfMemoryError:
                if fitting.samples == 1:
                    raise
                self._largest = fitting.samples // 2
            else:
                yield part
                start = stop


def _require_finite(block: BlockMoments, job: Job, draws: range) -> None:
    if not np.isfinite(block.variance).all():
        where = f"K={job.K}, draws {draws.start} to {draws.stop - 1}"
        problem = f"NaN or infinite for {job.estimator.name} at {where}"
        raise NonFiniteError("gradient", problem, "check the model's parameters")
