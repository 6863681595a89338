"""What makes the draws of a measurement: functions of (job, draws) alone, whoever asks for them and in whatever order."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from snrkit.backend.memory import out_of_memory, within_memory
from snrkit.core.batches import Batch
from snrkit.core.logweights import LogWeights
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import Engine, PassSize, pass_size
from snrkit.diagnostics.metrics.base import Family
from snrkit.diagnostics.moments import BlockMoments, DeviceBlock, PointMoments, Rounding
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.precision import Context, examine
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.seeding import Seeding
from snrkit.diagnostics.weights import WeightTally
from snrkit.errors import NonFiniteError, ResourceError
from snrkit.models.base import LatentModel
from snrkit.models.state import Snapshot

Part = TypeVar("Part")


def problem_of(model: LatentModel, x: Batch, job: Job, streams: Streams, restart: Snapshot | None = None) -> Problem:
    """What a job draws, for data ``[B, *event]``; arguments as for ``Worker``."""
    dreams = job.estimator.needs.sleep
    if job.direct:
        problem = Problem.direct(model, x, job.M, job.K, streams, job.noise, dreams=dreams)
    else:
        problem = Problem.units(model, x, job.K, streams, job.groups, job.noise, dreams=dreams)
    seeded = None if restart is None else Seeding(streams, job.M, job.K, restart, job.noise)
    return replace(problem, planned=job.draws, seeded=seeded)


class Worker:
    """Makes draws of one model at fixed data, in passes that fit in memory.

    Args:
        model: the model.
        x: data ``[B, *event]``.
        streams: root of the noise.
        engine: registered name of the engine.
        chunk: draws in one pass; None lets shapes decide.
        restart: the state of a model that keeps or draws something itself: its draws are made one by one, each from there
            and with seeded generators; None: it is a function of its noise.
        exchangeable: whether the model's samples do not depend on one another, so that a draw may be made in portions.
    """

    def __init__(
        self,
        model: LatentModel,
        x: Batch,
        streams: Streams,
        *,
        engine: str = "factors",
        chunk: int | None = None,
        restart: Snapshot | None = None,
        exchangeable: bool = True,
    ) -> None:
        self.model, self.x = model, x
        self.engine: Engine = ENGINES.load(engine)()
        self._streams, self._chunk, self._restart = streams, chunk, restart
        self._undivided = restart is not None or not exchangeable
        self._opened: tuple[Job, Problem, PassSize] | None = None
        self._largest: int | None = None  # importance samples in one pass, once memory has run out

    def opened(self, job: Job) -> tuple[Problem, PassSize]:
        """What a job draws, and how much of it one pass holds."""
        if self._opened is None or self._opened[0] != job:
            problem = problem_of(self.model, self.x, job, self._streams, self._restart)
            self._opened = job, problem, pass_size(problem, job.estimator, self._chunk)
        _, problem, size = self._opened
        return problem, size.bounded(self._largest)

    def block(self, job: Job, draws: range) -> BlockMoments | DeviceBlock:
        """The moments of a block of draws.

        Raises:
            NonFiniteError: a gradient is NaN or infinite.
            ResourceError: a draw does not fit in memory.
        """
        problem, _ = self.opened(job)

        def part(groups: range, fitting: PassSize) -> PointMoments:
            return self.engine.moments(problem, job.estimator, groups, draws, fitting)

        block = BlockMoments.fold(self._in_slices(part, job, len(draws)), problem.groups)
        _require_finite(block, job, draws)
        return block

    def rounding(self, job: Job) -> Rounding:
        """What is known of the rounding of a job's draws."""
        problem, size = self.opened(job)
        return examine(problem, job.estimator, size.samples, _context(problem))

    def serving(self, job: Job) -> dict[str, str]:
        """Name of each parameter to the engine that computes its moments."""
        problem, size = self.opened(job)
        if problem.samples_per_draw > size.samples:
            return dict.fromkeys(problem.layout.names, "loop")  # every engine takes such a draw in parts
        return self.engine.serving(problem, job.estimator)

    def gradients(self, job: Job, draws: range) -> Iterator[list[Tensor]]:
        """Draws of the minibatch gradient, float64: portions of tensors ``[r, *shape]``, the mean over groups."""
        problem, size = self.opened(job)
        step = min(len(draws), size.units)
        for start in range(draws.start, draws.stop, step):
            portion = range(start, min(start + step, draws.stop))
            yield [total.div_(problem.groups) for total in self._sum(problem, job, portion)]

    def weights(self, job: Job, draws: int, families: Sequence[Family] = ()) -> WeightTally:
        """What the log-weights of the first draws say, and the statistics of these metrics.

        Raises:
            NonFiniteError: one is NaN or +inf.
        """
        problem, size = self.opened(job)
        self._require_whole(problem, size)
        alone = self._undivided or not problem.noise.held
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
        if self._undivided:
            (draw,) = draws
            with _context(problem)(group, draw):
                weights: LogWeights = self.model(x, problem.samples_of(problem.noise.draw(group, draws)[0]))
                return weights.log_w
        if problem.noise.held:
            noise = problem.samples_of(problem.noise.draw(group, draws)).transpose(0, 1).flatten(1, 2)
            portions = torch.split(noise, max(1, samples // (noise.shape[0] * noise.shape[1])), dim=2)
            return torch.cat([self.model(x, portion).log_w for portion in portions], dim=2)
        (draw,) = draws  # such a draw is never one of several
        found = torch.empty(Bg, 1, problem.M * problem.K, dtype=problem.dtype, device=problem.device)
        start = 0
        for portion in problem.noise.portions(group, draw, max(1, samples // Bg)):
            found[:, :, start : start + portion.shape[2]] = self.model(x, problem.samples_of(portion)).log_w
            start += portion.shape[2]
        return found.view(Bg, problem.M, problem.K)

    def _require_whole(self, problem: Problem, size: PassSize) -> None:
        """See to it that a draw fits in one pass where it may not be divided.

        Raises:
            ResourceError: it does not.
        """
        if self._undivided and problem.samples_per_draw > size.samples:
            wrong = "a draw in which samples depend on one another, or the model draws or keeps something, does not fit"
            remedy = "give a smaller K or fewer points, or measure in evaluation mode"
            raise ResourceError(f"K={problem.K}", f"{wrong} in one pass", remedy)

    def _sum(self, problem: Problem, job: Job, draws: range) -> list[Tensor]:
        """The sum over groups of each draw, tensors ``[len(draws), *shape]``, float64."""

        def part(groups: range, fitting: PassSize) -> list[Tensor]:
            portions = self.engine.gradients(problem, job.estimator, groups, draws, fitting)
            sums = [[tensor.sum(dim=1, dtype=torch.float64) for tensor in portion] for portion in portions]
            return [torch.cat(tensors) for tensors in zip(*sums, strict=True)]

        parts = self._in_slices(part, job, len(draws))
        total = next(parts)
        for more in parts:
            for tensor, other in zip(total, more, strict=True):
                tensor.add_(other)
        return total

    def _in_slices(self, compute: Callable[[range, PassSize], Part], job: Job, draws: int) -> Iterator[Part]:
        """What is computed of so many draws of all groups, as many groups at a time as fit.

        Where memory runs out the passes are halved; what did not fit once is not tried again.

        Raises:
            ResourceError: a pass over single samples does not fit.
        """
        start, (problem, _) = 0, self.opened(job)
        while start < problem.groups:
            _, fitting = self.opened(job)
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


def _require_finite(block: BlockMoments | DeviceBlock, job: Job, draws: range) -> None:
    if not block.finite:
        where = f"K={job.K}, draws {draws.start} to {draws.stop - 1}"
        problem = f"NaN or infinite for {job.estimator.name} at {where}"
        raise NonFiniteError("gradient", problem, "check the model's parameters")
