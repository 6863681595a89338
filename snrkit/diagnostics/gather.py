"""All readings of one job: whatever the metrics asked for read from its draws, and what they need beside those."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from snrkit.diagnostics import rounding
from snrkit.diagnostics.coordinates import check, choose
from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.metrics.base import Evidence, Family, Need, Reading, Replayed, Target
from snrkit.diagnostics.moments import BlockMoments, Moments
from snrkit.diagnostics.plan import BLOCKS_OF_DRAWS, Job, Plan
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.replay import replay
from snrkit.diagnostics.verdict import Verdict
from snrkit.errors import CapabilityError
from snrkit.interrupt import Interrupted
from snrkit.models.calling import parameters_of
from snrkit.runs.metrics import METRICS
from snrkit.types import Array

WEIGHT_DRAWS = 200


@dataclass(frozen=True)
class Drawn:
    """What one job gave.

    Attributes:
        readings: of one unit.
        per_count: per number of averaged units, readings that do not follow from those of one unit.
        kept: per number of averaged units, the draws of the chosen coordinates, ``[R', chosen]``.
        coordinates: names of the chosen coordinates.
        serving: name of each parameter to the engine that computed its moments.
        draws: gradient draws behind them.
        complete: whether all planned draws were made.
        seconds: wall time.
    """

    readings: list[Reading]
    per_count: dict[int, list[Reading]]
    kept: dict[int, Array]
    coordinates: list[str]
    serving: dict[str, str]
    draws: int
    complete: bool
    seconds: float = field(compare=False)


class Gatherer:
    """Draws jobs and reads them; remembers moments while other jobs of the same K may need them.

    Args:
        plan: the plan.
        drawer: draws its jobs.
        layout: order of the parameters.
        blocks: the blocks to read.
    """

    def __init__(self, plan: Plan, drawer: Drawer, layout: Layout, blocks: dict[str, slice]) -> None:
        self.plan, self.drawer, self.layout, self.blocks = plan, drawer, layout, blocks
        self._wanted = plan.wanted
        self._families: list[Family] = list(dict.fromkeys(METRICS.load(name) for name in self._wanted))
        self._near: dict[Job, Moments] = {}
        self._target: Moments | None = None
        self._zeros: dict[str, None] = {}  # remarks on weights of zero, in order
        self._verdicts: dict[Job, Verdict] = {}
        check(plan.keep, layout)

    def jobs(self) -> list[Job]:
        """All jobs of the table, each once, ordered by K so that related ones come together."""
        every = [job for point in self.plan.grid for job in self.plan.jobs(*point)]
        return sorted(dict.fromkeys(every), key=lambda job: (job.K, job.M))

    def expect(self) -> None:
        """Announce all draws to the progress: the table's jobs, those that only lend a mean or a target, second passes."""
        jobs = self.jobs()
        needed: dict[Job, None] = {}
        for job in jobs:
            lent = (job, self.plan.lender(job), self._reference(job))
            needed |= {other: None for other in lent if other is not None}
            if self._needing("target") and self.plan.bias == "log_p" and self._exact_target() is None:
                needed[self.plan.target()] = None
        replayed = jobs if self._needing("second pass") or self.plan.keep else []
        families = tuple(self._needing("log-weights"))
        self.drawer.expect([*needed], replayed, {job: (_looked_at(job), families) for job in jobs})

    def gather(self, job: Job) -> Drawn:
        """Everything that the plan asks of a job.

        Raises:
            Interrupted: asked to stop before anything could be read.
            NonFiniteError: a bound or gradient is not finite.
        """
        start = time.perf_counter()
        statistics = self._statistics(job)
        moments = self._moments(job)
        if moments.verdict is not None:
            self._verdicts[job] = moments.verdict
        lender, targets = self._lender(job, moments), self._targets(job, moments)
        evidence = Evidence(job, self.layout, self.blocks, moments, lender, targets)
        readings = []
        for family in (f for f in self._families if f.needs != "second pass"):
            readings += self._read(family, replace(evidence, statistics=statistics.get(family, evidence.statistics)))
        chosen = choose(self.plan.keep, self.layout, moments)
        replayed = self._replayed(job, moments, list(chosen.values()))
        complete = moments.draws == job.draws and replayed is not None
        per_count, kept = {}, {}
        for count, found in (replayed or {}).items():
            again = replace(evidence, replayed=found)
            per_count[count] = [r for family in self._needing("second pass") for r in self._read(family, again)]
            if chosen:
                kept[count] = found.kept
        spent = self.drawer.maker.seconds(job)
        seconds = time.perf_counter() - start if spent is None else spent
        serving = self.drawer.maker.serving(job)
        return Drawn(readings, per_count, kept, list(chosen), serving, moments.draws, complete, seconds)

    def _needing(self, need: Need) -> list[Family]:
        return [family for family in self._families if family.needs == need]

    def _read(self, family: Family, evidence: Evidence) -> list[Reading]:
        """What a family reads of what was asked for; what a lent mean enters says so.

        Raises:
            CapabilityError: its code, which may be another package's, raised.
        """
        try:
            found = [reading for reading in family.read(evidence) if reading.metric in self._wanted]
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            problem = f"{', '.join(family.metrics)} cannot be read ({type(error).__name__}: {error})"
            raise CapabilityError("metrics", problem, "name others, or repair the package that has it") from error
        if evidence.lender is None:
            return found
        lent = f"E[g] from {self.plan.mean_from} draws"
        return [
            replace(r, remark="; ".join(filter(None, (lent, r.remark)))) if family.metrics[r.metric].of_mean else r
            for r in found
        ]

    def _statistics(self, job: Job) -> dict[Family, Array]:
        """Of the log-weights of the first draws, for families that need them; before all else, since it is soon done.

        Raises:
            NonFiniteError: the bound is not finite.
        """
        tally = self.drawer.maker.weights(job, _looked_at(job), self._needing("log-weights"))
        tally.require_bound()
        self._zeros |= dict.fromkeys(filter(None, [tally.remark()]))
        return dict(tally.statistics())

    def _moments(self, job: Job) -> Moments:
        if any(other.K != job.K for other in self._near):
            self._near.clear()
        if job not in self._near:
            self._near[job] = self.drawer.moments(job)
        return self._near[job]

    def _lender(self, job: Job, moments: Moments) -> Moments | None:
        lender = self.plan.lender(job)
        return None if lender is None else _same_blocks(self._moments(lender), moments)

    def _reference(self, job: Job) -> Job | None:
        """The draws whose mean is the gradient of a job's own bound, where a metric needs that."""
        return self.plan.reference(job) if self.plan.bias == "bound" and self._needing("target") else None

    def _targets(self, job: Job, moments: Moments) -> dict[str, Target]:
        """Blocks to what their mean gradient should be, where a metric needs that and it can be known."""
        reference = self._reference(job)
        if reference is not None:
            name = f"gradient of its own bound, from {reference.estimator.name} draws"
            return dict.fromkeys(self.blocks, Target(_same_blocks(self._moments(reference), moments), name))
        generative = [name for name in self.blocks if self.layout.network_of(name) == "generative"]
        if self.plan.bias != "log_p" or not generative or not self._needing("target"):
            return {}
        exact, name = self._exact_target(), "exact gradient of log p(x)"
        if exact is None:
            self._target = self._target or self.drawer.moments(self.plan.target())
            exact, name = self._target, f"gradient of the {self.plan.K_ref}-sample bound, standing for log p(x)"
        return dict.fromkeys(generative, Target(_same_blocks(exact, moments).beside(moments), name))

    def _exact_target(self) -> Moments | None:
        """The gradient of mean log p(x) as moments without noise, where the model knows log p(x)."""
        model, x = self.drawer.worker.model, self.drawer.worker.x
        if not hasattr(model, "log_marginal"):
            return None
        named = parameters_of(model)
        value = model.log_marginal(x).mean()  # type: ignore[operator]
        tensors = torch.autograd.grad(value, [named[name] for name in self.layout.names], materialize_grads=True)
        vector = torch.cat([tensor.flatten() for tensor in tensors]).double().cpu().numpy()
        block = BlockMoments(2, vector, np.zeros_like(vector), np.zeros((1, 1, 3)))
        return Moments([block] * len(self.plan.target().blocks()))

    def _replayed(self, job: Job, moments: Moments, chosen: list[int]) -> dict[int, Replayed] | None:
        """A second pass over all draws, per number of averaged units, where anything needs it; None if it was stopped."""
        if moments.draws < job.draws or not (chosen or self._needing("second pass")):
            return {}
        networks = [self.layout.blocks[name] for name in self.layout.present]
        try:
            return replay(self.drawer, job, moments, networks, self._counts(job), chosen)
        except Interrupted:
            return None

    def _counts(self, job: Job) -> list[int]:
        """How many units the table averages, where the block size allows it."""
        counts = {
            unit.count
            for point in self.plan.grid
            for unit, other in zip(self.plan.units(*point), self.plan.jobs(*point), strict=True)
            if other == job
        }
        return sorted(count for count in counts if count <= _smallest_block(job))

    def remarks(self) -> list[str]:
        """What was asked for and cannot be had, where weights are zero, and what rounding hides, in sentences."""
        return [*self._zeros, *self.drawer.remarks, *self._impossible(), *rounding.remarks(self._verdicts, self.layout)]

    def _impossible(self) -> list[str]:
        wanted = [next(iter(family.metrics.values())).title for family in self._needing("second pass")]
        wanted += ["kept draws"] if self.plan.keep else []
        lost = {
            unit.count
            for point in self.plan.grid
            for unit, job in zip(self.plan.units(*point), self.plan.jobs(*point), strict=True)
            if unit.count > _smallest_block(job)
        }
        if not wanted or not lost:
            return []
        return [
            f"no {' and no '.join(wanted)} at M={','.join(map(str, sorted(lost)))} where M unit draws make one: a block of "
            f"draws has fewer; give draws={BLOCKS_OF_DRAWS * max(lost)} or more, or draw directly"
        ]


def _looked_at(job: Job) -> int:
    """Draws whose log-weights are looked at."""
    return min(WEIGHT_DRAWS, job.draws)


def _smallest_block(job: Job) -> int:
    return min(len(draws) for draws in job.blocks())


def _same_blocks(other: Moments, own: Moments) -> Moments:
    """The first blocks of ``other``, as many as ``own`` has (fewer after an interruption).

    Raises:
        Interrupted: ``other`` itself was interrupted and has not as many.
    """
    if other.blocks < own.blocks:
        raise Interrupted
    return other if other.blocks == own.blocks else other.first(own.blocks)
