"""Measure the gradients of a model: the Python face of the diagnostics."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from snrkit.backend.device import kind_of
from snrkit.backend.machine import threads as on_threads
from snrkit.diagnostics import tables
from snrkit.diagnostics.gather import Drawn, Gatherer
from snrkit.diagnostics.metrics.base import Reading
from snrkit.diagnostics.plan import Job, Plan
from snrkit.diagnostics.prepared import count, prepared, select_blocks
from snrkit.diagnostics.store import Store, parameters_digest
from snrkit.diagnostics.suiting import suited
from snrkit.errors import NonFiniteError, SpecError
from snrkit.estimators.base import Estimator
from snrkit.files import write_text
from snrkit.fleet.elsewhere import Elsewhere, elsewhere
from snrkit.fleet.models import Send
from snrkit.interrupt import Interrupted
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.draws import DRAWS
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.place import Place, target
from snrkit.specs.base import Mode
from snrkit.specs.measure import Execution, MeasureFile
from snrkit.trial.opening import opened
from snrkit.types import Progress

_LOG = logging.getLogger("snrkit")


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Attributes:
        plan: what was asked for.
        table: the tidy table of ``snrkit.runs.kinds.snr``.
        slopes: log-log slopes against K and M with theory's verdicts (see ``SLOPES``).
        comparisons: differences between estimators on the same noise (see ``COMPARISONS``).
        kept: draws of chosen coordinates (see ``DRAWS``); empty if none were asked for.
        complete: whether all draws were made; if not, the tables rest on the finished blocks.
        lost: which estimators at which K are left out, since their bound or gradient is not finite, in sentences.
        remarks: what was asked for and cannot be had, and what rounding hides, in sentences.
        source: what the tables were made from.
        store: the finished blocks of draws behind it, kept until ``settle``.
        place: where the tables of a run are; None: of a model without one.
        asked: the specification, where there is one.
    """

    plan: Plan
    table: pd.DataFrame
    slopes: pd.DataFrame
    comparisons: pd.DataFrame
    kept: pd.DataFrame
    complete: bool
    lost: list[str]
    remarks: list[str]
    source: tables.Source = field(repr=False)
    store: Store = field(repr=False)
    place: Place | None = field(default=None, repr=False)
    asked: MeasureFile | None = field(default=None, repr=False)

    @property
    def drawing_seconds(self) -> float:
        """Time that the draws and their readings took, without the trial and the tables."""
        return sum(found.seconds for found in self.source.drawn.values())

    def save(self, path: Path | None = None) -> Path:
        """Add what was measured to the tables there: rows measured again replace the old ones. Then ``settle``.

        Args:
            path: the Parquet file, which slopes, comparisons, kept draws and the specification, as TOML, go beside; None:
                that of the run. What no file can ask for again, such as an estimator of one's own, has no specification.

        Returns:
            The Parquet file.

        Raises:
            SpecError: neither a path nor a run says where.
            OutputError: it cannot be written.
            ResourceError: other processes were at it for too long.
            ResultsError: what is there is damaged or of a newer schema.
        """
        with target(self.place, path) as table:
            SNR.merge(table, self.table)
            SLOPES.merge(SLOPES.beside(table), self.slopes)
            COMPARISONS.merge(COMPARISONS.beside(table), self.comparisons)
            DRAWS.merge(DRAWS.beside(table), self.kept)
            if self.asked is not None:
                write_text(table.with_suffix(".toml"), self.asked.to_toml())
            elif self.place is not None:
                table.with_suffix(".toml").unlink(missing_ok=True)  # it says what was measured before
            self.settle()
        return table

    def settle(self) -> None:
        """Take away the blocks kept in ``folder``, since the tables are safe: call it once they are written.

        Until then the same call finds every block and draws nothing again. Of a measurement that is not complete nothing is
        taken away.
        """
        if self.complete:
            self.store.clear()

    def strength(self, estimator: Estimator, M: int, K: int) -> dict[str, Reading]:
        """Block to the reading of snr_pooled_squared at (M, K), with its replicates."""
        return self.source.replicates(estimator, M, K, "snr_pooled_squared")


def measure(  # noqa: PLR0913 (one option each; most by keyword)
    model: nn.Module,
    x: Any,
    estimators: str | Estimator | Iterable[str | Estimator],
    K: int | Iterable[int],
    M: int | Iterable[int] = 1,
    draws: int = 1000,
    seed: int = 0,
    *,
    engine: str = "factors",
    direct: bool = False,
    chunk: int | None = None,
    threads: int | None = None,
    blocks: str | Iterable[str] | None = None,
    mode: Mode = "evaluation",
    progress: Progress | None = None,
    executor: Any = None,
    send: Send = "specification",
) -> pd.DataFrame:
    """Moments of repeated gradient draws at fixed data and parameters, and the SNRs they imply.

    The gradient is that of the mean over the given data points, as an optimiser would see it ("minibatch" scope). By
    default unit gradients (one data point, M = 1) are drawn once per K, and every M and the minibatch follow by algebra:
    means stay, variances divide by M. A mean then rests on R/M effective draws; the floor says so. ``diagnose`` offers
    more: bias, DSNR, slopes, comparisons, interruption.

    Args:
        model: a ``LatentModel``, any module with ``encode`` and ``log_joint``, or a wrapper of one (``torch.compile``,
            DataParallel). It is left as it is, whatever happens.
        x: data ``[B, *event]``, finite: a tensor or array, or a tuple, list or dict of them whose first axis is the data
            point. Floating-point numbers take the model's type, integers stay integers; all move to its device.
        estimators: registered names or estimators, one or several, all drawn from the same noise.
        K: importance samples, one number or several, each at least 1.
        M: outer samples, one number or several, each at least 1.
        draws: gradient draws R, at least 4; they fall into 20 blocks (fewer if R < 40) for the intervals.
        seed: root of the noise.
        engine: registered name: ``factors`` (fast for linear layers, leaves the rest to the others), ``vmap``, ``loop``.
        direct: draw the minibatch gradient at each requested (M, K) itself instead of using the algebra.
        chunk: draws in one pass of vmap; None lets shapes decide. The noise, and so the result up to rounding, does not
            depend on it.
        threads: of the processor, of each worker where there is an executor; None: 1 of a worker, else as torch decides. The
            last bits depend on it.
        blocks: of the rows: ``inference``, ``generative``, ``all``, or names of parameter tensors; None: every one.
        mode: ``evaluation``, or ``training``: dropout, batch normalisation and their like as in an optimiser's step. A model
            that is in training mode already keeps the modes that its parts have.
        progress: called with (done, total, note) as draws are finished.
        executor: a ``dask.distributed.Client``, or an ``Executor`` of ``concurrent.futures`` whose workers are processes, to
            make the draws; the numbers are those of one process with as many threads, bit for bit. None: this process.
        send: ``cloudpickle`` has the model sent to them with its code, which they run; as ``specification`` travel models of
            runs alone (``Run.measure``).

    Returns:
        The tidy table of ``snrkit.runs.kinds.snr``, one row per (estimator, M, K, block, metric). Rows of block ``all`` are
        absent where the two networks have different units (piwae at M > 1), and all rows of an estimator at a K whose bound
        or gradient is not finite, as long as others are. What the user should know of it is logged as warnings of the
        logger ``snrkit``, and stands in ``table.attrs["remarks"]``.

    Raises:
        SpecError: an argument is out of range, or the data cannot be used.
        ModelError: the model's own code raised; the cause is chained.
        CapabilityError: the model does not offer what an estimator or the engine needs.
        NonFiniteError: every gradient or bound asked for is NaN or infinite.
        ResourceError: memory ran out, or workers are lost again and again.
    """
    if progress is not None and not callable(progress):
        raise SpecError("progress", f"must be a function, got {progress!r}", "leave it out")
    asked: dict[str, Any] = {
        "estimators": estimators, "K": K, "M": M, "draws": draws, "seed": seed, "direct": direct, "blocks": blocks,
        "mode": mode, "how": Execution(engine=engine, chunk=chunk, threads=threads),
    }  # fmt: skip
    plan = Plan(**asked)
    found = diagnose(model, x, plan, progress=progress, elsewhere=elsewhere(executor, send))
    for remark in found.remarks:
        _LOG.warning("measure: %s", remark)
    found.table.attrs["remarks"] = found.remarks
    return found.table


def diagnose(
    model: nn.Module,
    x: Any,
    plan: Plan,
    *,
    provenance: tables.Provenance | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    elsewhere: Elsewhere | None = None,
) -> Measurement:
    """Carry out a plan.

    Args:
        model: as for ``measure``.
        x: as for ``measure``.
        plan: what to measure.
        provenance: labels for the tables.
        folder: keep finished blocks here; the same call then goes on where an interrupted one stopped and ends with the
            same result, bit for bit. They stay until ``Measurement.settle``, so that a write of the tables that fails loses
            no draws.
        progress: called with (done, total, note); done and total count importance samples.
        stop: asked after every block of draws; True ends the measurement with what is finished.
        elsewhere: workers that make the draws; None: this process does.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError, ResourceError: as for ``measure``.
        OutputError: the folder cannot be written.
        Interrupted: stopped before anything could be read.
    """
    with opened(model, x, plan.mode) as subject, on_threads(count(plan, elsewhere)):
        plan, remarks = suited(plan, subject.findings, subject.points)
        ready = prepared(subject, plan, folder, progress, stop, elsewhere)
        layout, store, used = ready.layout, ready.store, torch.get_num_threads()
        gatherer = Gatherer(plan, ready.drawer, layout, select_blocks(layout, plan.blocks))
        with ready.drawer.made():
            drawn, lost = _gather(gatherer)
    complete = len(drawn) + len(lost) == len(gatherer.jobs()) and all(found.complete for found in drawn.values())
    device = kind_of(subject.device)
    about = provenance or tables.Provenance()
    source = tables.Source(
        plan, layout, drawn, about, parameters_digest(subject.model), device, ready.precision, used
    )  # fmt: skip
    table = tables.readings(source)
    return Measurement(
        plan=plan,
        table=table,
        slopes=tables.slopes(source),
        comparisons=tables.comparisons(source),
        kept=tables.kept(source),
        complete=complete,
        lost=list(lost.values()),
        remarks=[*remarks, *lost.values(), *gatherer.remarks(), *_absent(plan, table)],
        source=source,
        store=store,
    )


def _absent(plan: Plan, table: pd.DataFrame) -> list[str]:
    """What was asked for by name and has no row, in sentences."""
    named = {"block": plan.blocks, "metric": plan.metrics}
    lost = {what: [name for name in names or () if name not in set(table[what])] for what, names in named.items()}
    return [f"no row of {what} {', '.join(names)}" for what, names in lost.items() if names]


def _gather(gatherer: Gatherer) -> tuple[dict[Job, Drawn], dict[Job, str]]:
    """All jobs, or as many as there was time for; and those that cannot be read, with the reason.

    Raises:
        Interrupted: there was time for none.
        NonFiniteError: none can be read.
    """
    gatherer.expect()
    drawn: dict[Job, Drawn] = {}
    lost: dict[Job, NonFiniteError] = {}
    for job in gatherer.jobs():
        try:
            drawn[job] = gatherer.gather(job)
        except NonFiniteError as error:
            lost[job] = error
        except Interrupted:
            if not drawn:
                raise
            break
    if lost and not drawn:
        raise next(iter(lost.values()))
    return drawn, {job: f"{job.estimator.name} at K={job.K} is left out: {error}" for job, error in lost.items()}
