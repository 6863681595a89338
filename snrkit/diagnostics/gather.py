"""All readings of one job: what its moments say, and what a second pass adds."""

import time
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from snrkit.diagnostics import rounding
from snrkit.diagnostics.coordinates import check, choose
from snrkit.diagnostics.decomposition import decompose
from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.intervals import student
from snrkit.diagnostics.metrics import Reading
from snrkit.diagnostics.moments import Array, BlockMoments, Moments, Verdict
from snrkit.diagnostics.plan import BLOCKS_OF_DRAWS, Job, Plan
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.readings import read
from snrkit.diagnostics.relations import across, bias, block_means, noise_scale
from snrkit.diagnostics.replay import RELIABLE, Replayed, dsnr, noise_dsnr, replay
from snrkit.interrupt import Interrupted
from snrkit.models.base import parameters_of

WEIGHT_DRAWS = 200
_OF_MEAN = ("snr_", "mean_norm", "noise_scale")
_NETWORKS = ("inference", "generative", "all")


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
        """Announce all draws to the progress: the table's jobs, and those that only lend a mean or a target."""
        jobs = self.jobs()
        needed = dict.fromkeys(jobs)
        for job in jobs:
            lent = (self.plan.lender(job), self.plan.reference(job) if self.plan.bias == "bound" else None)
            needed |= {other: None for other in lent if other is not None}
        if self.plan.bias == "log_p" and self._exact_target() is None:
            needed[self.plan.target()] = None
        replayed = jobs if self.plan.dsnr or self.plan.keep else []
        self.drawer.expect([*needed, *replayed])

    def gather(self, job: Job) -> Drawn:
        """Everything that the plan asks of a job.

        Raises:
            Interrupted: asked to stop before anything could be read.
            NonFiniteError: a bound or gradient is not finite.
        """
        start = time.perf_counter()
        weights = self._weights(job)
        moments = self._moments(job)
        if moments.verdict is not None:
            self._verdicts[job] = moments.verdict
        complete = moments.draws == job.draws
        readings = self._strengths(job, moments) + self._bias(job, moments) + self._parts(job, moments)
        readings += weights
        replayed: dict[int, Replayed] = {}
        chosen = choose(self.plan.keep, self.layout, moments)
        if complete and (self.plan.dsnr or chosen):
            networks = [self.layout.blocks[name] for name in self._present()]
            try:
                replayed = replay(self.drawer, job, moments, networks, self._counts(job), list(chosen.values()))
            except Interrupted:
                complete = False  # what the moments say is kept
        per_count = {m: self._dsnr(moments, r) for m, r in replayed.items()} if self.plan.dsnr else {}
        kept = {m: r.kept for m, r in replayed.items()} if chosen else {}
        seconds = time.perf_counter() - start
        serving = self.drawer.serving(job)
        return Drawn(readings, per_count, kept, list(chosen), serving, moments.draws, complete, seconds)

    def _moments(self, job: Job) -> Moments:
        if any(other.K != job.K for other in self._near):
            self._near.clear()
        if job not in self._near:
            self._near[job] = self.drawer.moments(job)
        return self._near[job]

    def _lender(self, job: Job, moments: Moments) -> Moments | None:
        lender = self.plan.lender(job)
        return None if lender is None else _same_blocks(self._moments(lender), moments)

    def _present(self) -> list[str]:
        return [name for name in ("inference", "generative") if name in self.layout.blocks]

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
        wanted = [name for name, asked in (("DSNR", self.plan.dsnr), ("kept draws", self.plan.keep)) if asked]
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

    def _strengths(self, job: Job, moments: Moments) -> list[Reading]:
        """SNRs, variance, norm of the mean and noise scale; with the lender's mean, and saying so, if there is one."""
        lender = self._lender(job, moments)
        found = read(moments, self.blocks, lender)
        for trace in [reading for reading in found if reading.metric == "variance"]:
            block = self.blocks[trace.block]
            means = block_means(lender or moments, block)
            scale = noise_scale(means, trace.interval.value, trace.replicates)
            found.append(Reading("noise_scale", trace.block, scale, n_coordinates=block.stop - block.start))
        if lender is None:
            return found
        lent = f"E[g] from {self.plan.mean_from} draws"
        return [
            replace(r, remark="; ".join(filter(None, (lent, r.remark)))) if r.metric.startswith(_OF_MEAN) else r
            for r in found
        ]

    def _bias(self, job: Job, moments: Moments) -> list[Reading]:
        found = []
        for name, block in self.blocks.items():
            target, called = self._bias_target(job, moments, name)
            if target is None:
                continue
            intervals = bias(block_means(moments, block), block_means(target, block))
            size = block.stop - block.start
            found += [Reading(m, name, value, n_coordinates=size, target=called) for m, value in intervals.items()]
        return found

    def _bias_target(self, job: Job, moments: Moments, block: str) -> tuple[Moments | None, str]:
        if self.plan.bias == "bound":
            reference = self.plan.reference(job)
            if reference is not None:
                target = _same_blocks(self._moments(reference), moments)
                return target, f"gradient of its own bound, from {reference.estimator.name} draws"
        if self.plan.bias == "log_p" and self.layout.network_of(block) == "generative":
            exact = self._exact_target()
            if exact is not None:
                return _same_blocks(exact, moments), "exact gradient of log p(x)"
            if self._target is None:
                self._target = self.drawer.moments(self.plan.target())
            called = f"gradient of the {self.plan.K_ref}-sample bound, standing for log p(x)"
            return _same_blocks(self._target, moments), called
        return None, ""

    def _exact_target(self) -> Moments | None:
        """The gradient of mean log p(x) as moments without noise, where the model knows log p(x)."""
        model, x = self.drawer.model, self.drawer.x
        if not hasattr(model, "log_marginal"):
            return None
        named = parameters_of(model)
        value = model.log_marginal(x).mean()  # type: ignore[operator]
        tensors = torch.autograd.grad(value, [named[name] for name in self.layout.names], materialize_grads=True)
        vector = torch.cat([tensor.flatten() for tensor in tensors]).double().cpu().numpy()
        block = BlockMoments(2, vector, np.zeros_like(vector), np.zeros((1, 1, 3)))
        return Moments([block] * len(self.plan.target().blocks()))

    def _parts(self, job: Job, moments: Moments) -> list[Reading]:
        if job.direct or moments.points.shape[1] < 3:
            return []
        found = []
        boundary = sum(network == "inference" for network in self.layout.networks)
        spans = {"inference": slice(0, boundary), "generative": slice(boundary, None), "all": slice(None)}
        spans |= {name: slice(i, i + 1) for i, name in enumerate(self.layout.names)}
        for name, block in self.blocks.items():
            for scope, parts in decompose(moments, spans[name]).items():
                size = block.stop - block.start
                found += [Reading(m, name, value, n_coordinates=size, scope=scope) for m, value in parts.items()]
        return found

    def _weights(self, job: Job) -> list[Reading]:
        draws = min(WEIGHT_DRAWS, job.draws)
        tally = self.drawer.weight_statistics(job, draws)
        tally.require_bound()
        self._zeros |= dict.fromkeys(filter(None, [tally.remark()]))
        statistics = tally.statistics()
        errors = statistics.std(axis=0, ddof=1) / np.sqrt(draws)
        remark = f"from {draws} draws"
        return [
            Reading(metric, "all", student(float(statistics[:, i].mean()), float(errors[i]), draws), remark=remark)
            for i, metric in enumerate(("ess", "largest_weight"))
        ]

    def _dsnr(self, moments: Moments, replayed: Replayed) -> list[Reading]:
        present = self._present()
        networks = [self.layout.blocks[name] for name in present]
        found = []
        for name in (name for name in _NETWORKS if name in self.blocks):
            members = [i for i, network in enumerate(present) if name in (network, "all")]
            block = self.layout.blocks[name]
            own = block_means(moments, block)
            strength = moments.draws * across(own @ own.T) / float(moments.merged()[2][block].sum())
            remark = pulled(strength)
            for metric, interval in dsnr(replayed, moments, networks, members).items():
                size = block.stop - block.start
                found.append(
                    Reading(metric, name, interval, noise_dsnr(size), size, remark=remark, pulled=bool(remark))
                )
        return found


def pulled(strength: float) -> str:
    """The remark at a DSNR whose direction rests on too few draws, R snr_pooled^2; empty where it is reliable."""
    return (
        ""
        if strength >= RELIABLE
        else f"pulled towards its noise value: R snr_pooled^2 = {strength:.1f} < {RELIABLE:g}"
    )


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
