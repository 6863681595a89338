"""Measure the gradients of a model: the Python face of the diagnostics."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import Engine, PassSize, pass_size
from snrkit.diagnostics.moments import BlockMoments, Moments, PointMoments
from snrkit.diagnostics.problem import Layout, Problem
from snrkit.diagnostics.readings import METRICS, Reading, read
from snrkit.errors import CapabilityError, NonFiniteError, SpecError
from snrkit.estimators.base import Estimator, Units, build_estimator
from snrkit.models.base import LatentModel, Network, check_log_weights
from snrkit.results import COLUMNS
from snrkit.streams import Streams

BLOCKS_OF_DRAWS = 20
MINIMUM_DRAWS = 4

Progress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class Provenance:
    """Where the parameters and the data of a measurement come from, for the table.

    Attributes:
        run: name of the run.
        step: optimiser steps done.
        data: which data points.
    """

    run: str = "python"
    step: int = 0
    data: str = "given"


@dataclass(frozen=True)
class _Job:
    """One set of draws: an estimator at the (M, K) that is drawn."""

    estimator: Estimator
    M: int
    K: int


@dataclass(frozen=True)
class _Drawn:
    """What a job gave: the readings of one unit, and what they cost."""

    readings: list[Reading]
    seconds: float


def measure(  # noqa: PLR0913 (one option each; all but the first few by keyword)
    model: LatentModel,
    x: Tensor,
    estimators: Sequence[str | Estimator],
    K: Sequence[int],
    M: Sequence[int] = (1,),
    draws: int = 1000,
    seed: int = 0,
    *,
    engine: str = "vmap",
    direct: bool = False,
    chunk: int | None = None,
    blocks: Sequence[str] | None = None,
    provenance: Provenance = Provenance(),
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Moments of repeated gradient draws at fixed data and parameters, and the SNRs they imply.

    The gradient is that of the mean over the given data points, as an optimiser would see it ("minibatch" scope). By
    default unit gradients (one data point, M = 1) are drawn once per K, and every M and the minibatch follow by algebra:
    means stay, variances divide by M. A mean then rests on R/M effective draws; the floor says so.

    Args:
        model: the model; its parameters, gradients and mode are left as they are.
        x: data ``[B, *event]``, finite; moved to the model's device and dtype.
        estimators: registered names or estimators, all drawn from the same noise.
        K: importance samples, each at least 1.
        M: outer samples, each at least 1.
        draws: gradient draws R, at least 4; they fall into 20 blocks (fewer if R < 40) for the intervals.
        seed: root of the noise.
        engine: registered name: ``vmap`` or ``loop``.
        direct: draw the minibatch gradient at each requested (M, K) itself instead of using the algebra.
        chunk: draws in one pass; None lets shapes decide. The noise, and so the result up to rounding, does not depend
            on it.
        blocks: of the rows: ``inference``, ``generative``, ``all``, or names of parameter tensors; None: every one.
        provenance: labels for the table.
        progress: called with (done, total, note) as draws are finished.

    Returns:
        The tidy table of ``snrkit.results``, one row per (estimator, M, K, block, metric). Rows of block ``all`` are absent
        where the two networks have different units (piwae at M > 1).

    Raises:
        SpecError: an argument is out of range, or the model does not accept the data.
        CapabilityError: the model does not offer what an estimator or the engine needs.
        NonFiniteError: a gradient is NaN or infinite.
    """
    chosen = [build_estimator(item, {}) if isinstance(item, str) else item for item in estimators]
    _check(chosen, K, M, draws, seed, chunk)
    parameter = next(iter(model.parameters()))
    x = torch.as_tensor(x).to(parameter)
    if x.ndim == 0 or x.shape[0] == 0 or not bool(torch.isfinite(x).all()):
        raise SpecError("x", "must hold at least one data point, all of it finite", "give data [B, ...] without NaN")
    if not (direct or model.independent_points):
        raise CapabilityError("model", "its data points are not independent", "measure it with direct=True (--direct)")
    with _evaluation_mode(model):
        check_log_weights(model, x)
        layout = Layout.of(model, x)
        wanted = _select_blocks(layout, blocks)
        grid = [(estimator, m, k) for estimator in chosen for k in K for m in M]
        jobs = list(dict.fromkeys(job for point in grid for job in _jobs(*point, direct=direct)))
        drawer = _Drawer(model, x, wanted, ENGINES.load(engine)(), Streams(seed), draws, chunk)
        drawn = dict(zip(jobs, drawer.run(jobs, direct, progress), strict=True))
    rows = [row for point in grid for row in _rows(drawn, *point, direct=direct, layout=layout)]
    device = torch.cuda.get_device_name(x.device) if x.is_cuda else "cpu"
    constant = {
        "run": provenance.run, "step": provenance.step, "data": provenance.data, "scope": "minibatch", "draws": draws,
        "seed": seed, "engine": engine, "device": device, "dtype": str(x.dtype).removeprefix("torch."),
    }  # fmt: skip
    return pd.DataFrame([row | constant for row in rows], columns=list(COLUMNS))


def _check(
    estimators: Sequence[Estimator], K: Sequence[int], M: Sequence[int], draws: int, seed: int, chunk: int | None
) -> None:
    for name, values in (("K", K), ("M", M)):
        if not values or any(isinstance(v, bool) or not isinstance(v, int | np.integer) or v < 1 for v in values):
            raise SpecError(
                name, f"must be integers of at least 1, got {list(values)}", f"give for example {name}=[1, 10]"
            )
    if not estimators:
        raise SpecError("estimators", "is empty", "name at least one, for example iwae")
    if draws < MINIMUM_DRAWS:
        raise SpecError("draws", f"must be at least {MINIMUM_DRAWS}, got {draws}", "1000 is a good start")
    if chunk is not None and chunk < 1:
        raise SpecError("chunk", f"must be at least 1, got {chunk}", "leave it out to let shapes decide")
    if seed < 0:
        raise SpecError("seed", f"must not be negative, got {seed}", "give for example seed=0")


def _select_blocks(layout: Layout, names: Sequence[str] | None) -> dict[str, slice]:
    if names is None:
        return layout.blocks
    for name in names:
        if name not in layout.blocks:
            raise SpecError("block", f"no block '{name}' in this model", f"choose from {', '.join(layout.blocks)}")
    return {name: layout.blocks[name] for name in names}


def _jobs(estimator: Estimator, M: int, K: int, *, direct: bool) -> list[_Job]:
    """The sets of draws that an (estimator, M, K) rests on, inference network's first."""
    if direct:
        return [_Job(estimator, M, K)]
    return list(dict.fromkeys(_Job(estimator, 1, unit.samples) for unit in estimator.units(M, K)))


def _rows(
    drawn: dict[_Job, _Drawn], estimator: Estimator, M: int, K: int, *, direct: bool, layout: Layout
) -> Iterator[dict[str, object]]:
    phi, theta = (Units(K, 1), Units(K, 1)) if direct else estimator.units(M, K)
    units: dict[Network | None, Units] = {"inference": phi, "generative": theta}
    if phi == theta:
        units[None] = phi
    for owner, unit in units.items():
        job = _Job(estimator, M if direct else 1, unit.samples)
        for reading in drawn[job].readings:
            if layout.network_of(reading.block) != owner:
                continue
            at = reading.of_average(unit.count)
            yield {
                "estimator": estimator.name, "options": estimator.describe(), "M": M, "K": K, "block": at.block,
                "metric": at.metric, "value": at.interval.value, "stderr": at.interval.stderr,
                "ci_low": at.interval.low, "ci_high": at.interval.high, "floor": at.floor,
                "n_coordinates": at.n_coordinates, "n_dropped": at.n_dropped,
                "definition": METRICS[at.metric][1], "seconds": drawn[job].seconds,
            }  # fmt: skip


class _Drawer:
    """Runs jobs block by block of draws."""

    def __init__(
        self,
        model: LatentModel,
        x: Tensor,
        blocks: dict[str, slice],
        engine: Engine,
        streams: Streams,
        draws: int,
        chunk: int | None,
    ) -> None:
        self.model, self.x, self.blocks, self.engine = model, x, blocks, engine
        self.streams, self.draws, self.chunk = streams, draws, chunk

    def run(self, jobs: Sequence[_Job], direct: bool, progress: Progress | None) -> Iterator[_Drawn]:
        """The readings of each job, in order."""
        per_draw = [len(self.x) * job.M * job.K for job in jobs]
        total, done = sum(per_draw) * self.draws, 0
        for job, cost in zip(jobs, per_draw, strict=True):
            start = time.perf_counter()
            if direct:
                problem = Problem.direct(self.model, self.x, job.M, job.K, self.streams)
            else:
                problem = Problem.units(self.model, self.x, job.K, self.streams)
            blocks = []
            for block in self._blocks(problem, job):
                blocks.append(block)
                done += block.draws * cost
                if progress is not None:
                    progress(done, total, f"{job.estimator.name} K={job.K}")
            yield _Drawn(read(Moments(blocks), self.blocks), time.perf_counter() - start)

    def _blocks(self, problem: Problem, job: _Job) -> Iterator[BlockMoments]:
        size = pass_size(problem, job.estimator, self.chunk)
        count = min(BLOCKS_OF_DRAWS, self.draws // 2)
        for part in np.array_split(np.arange(self.draws), count):
            draws = range(int(part[0]), int(part[-1]) + 1)
            block = BlockMoments.fold(self._points(problem, job.estimator, draws, size), problem.groups)
            if not np.isfinite(block.variance).all():
                where = f"K={job.K}, draws {draws.start} to {draws.stop - 1}"
                raise NonFiniteError(
                    "gradient", f"NaN or infinite for {job.estimator.name} at {where}", "check the model's parameters"
                )
            yield block

    def _points(self, problem: Problem, estimator: Estimator, draws: range, size: PassSize) -> Iterable[PointMoments]:
        # As many draws as fit, then as many points: a portion of noise then belongs to few streams.
        width = max(1, size.units // len(draws))
        for start in range(0, problem.groups, width):
            groups = range(start, min(start + width, problem.groups))
            moments = PointMoments()
            for gradients in self.engine.gradients(problem, estimator, groups, draws, size):
                moments.add(gradients)
            yield moments


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode within the block, and back in its own afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
