"""Measure the gradients of any stochastic loss: the Python face of ``snrkit.losses``."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from snrkit.backend.machine import threads as on_threads
from snrkit.diagnostics.moments import Moments
from snrkit.diagnostics.tables import Provenance
from snrkit.fleet.elsewhere import Elsewhere, elsewhere, threads_of
from snrkit.fleet.models import Send
from snrkit.losses.asked import Asked, asked
from snrkit.losses.crew import By
from snrkit.losses.measuring import Measured, measured
from snrkit.losses.opening import opened
from snrkit.losses.parameters import Trained
from snrkit.losses.rows import comparisons, rows
from snrkit.losses.trial import Found
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.place import target
from snrkit.specs.base import Mode
from snrkit.specs.given import whole
from snrkit.types import Array, Progress

_LOG = logging.getLogger("snrkit")
Direction = Literal["descent", "ascent"]


@dataclass(frozen=True)
class LossMeasurement:
    """What was measured of losses.

    Attributes:
        table: the tidy table of ``snrkit.runs.kinds.snr``: a loss's name is its ``estimator``, and K is 1.
        comparisons: differences between losses on the same seeds (see ``COMPARISONS``).
        remarks: what a user should know, in sentences.
        found: name of each loss to what its trial said.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    remarks: list[str]
    found: dict[str, Found]
    _measured: dict[str, Measured] = field(repr=False)
    _trained: Trained = field(repr=False)
    _sign: int = field(repr=False)

    @property
    def drawing_seconds(self) -> float:
        """Time that the draws took, without trials and readings."""
        return sum(found.drawing for found in self._measured.values())

    def save(self, path: Path | str) -> Path:
        """Add what was measured to the tables there: rows measured again replace the old ones.

        Args:
            path: the Parquet file, beside which comparisons go.

        Raises:
            OutputError: it cannot be written.
            ResultsError: what is there is damaged or of a newer schema.
        """
        with target(None, Path(path)) as table:
            SNR.merge(table, self.table)
            COMPARISONS.merge(COMPARISONS.beside(table), self.comparisons)
        return table

    def mean_gradient(self, loss: str | None = None) -> dict[str, Array]:
        """Parameter to the mean of the draws, float64, in the direction in which an optimiser goes.

        Args:
            loss: name of the loss; None: the first.
        """
        found = self._measured[next(iter(self._measured)) if loss is None else loss]
        moments: Moments = found.read.means or found.read.moments
        mean = self._sign * moments.merged()[1]
        blocks, named = self._trained.layout.blocks, self._trained.named
        return {name: np.reshape(mean[blocks[name]], tuple(tensor.shape)) for name, tensor in named.items()}


def measure_loss(  # noqa: PLR0913 (one option each; all by keyword)
    loss: Callable[..., Any] | Mapping[str, Callable[..., Any]],
    model_or_parameters: Any,
    batch: Any = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    groups: Mapping[str, Any] | None = None,
    mode: Mode = "training",
    direction: Direction = "descent",
    M: int | Iterable[int] = 1,
    repeats: int = 2,
    noise: Iterable[int] | None = None,
    dsnr: bool = False,
    progress: Progress | None = None,
    threads: int | None = None,
    executor: Any = None,
    send: Send = "specification",
) -> pd.DataFrame:
    """Moments of repeated draws of any loss's gradient, and the SNRs they imply; the loss is left as it is.

    A draw is one call of the loss, with whatever randomness it has inside: dropout, ``torch.randn``, actions, resampling,
    diffusion steps. The global generators of torch, numpy and ``random`` are seeded per draw and put back. What draws from
    a generator of its own, or steps an environment, is measured as it comes, and marked as not reproducible.

    Args:
        loss: called as ``loss(model_or_parameters, batch)``, without the batch where there is none. It returns a scalar, or
            a dict with a scalar for each group, which is that group's loss alone; or it calls ``backward`` itself. Several
            losses as a dict by name see the same seeds.
        model_or_parameters: a module or a wrapper of one, parameters, or a dict of modules or parameters by name; the
            gradient is taken in those that require one. All is left as it is: values, ``.grad``, buffers, modes.
        batch: what the loss is called with, of any kind; or a function without arguments that gives another batch at each
            call, so that readings are of a random batch and its two parts are told apart.
        draws: gradient draws R, at least 4; they fall into 20 blocks (fewer if R < 40) for the intervals.
        seed: root of all draws.
        groups: name of a block to modules, parameters or beginnings of parameter names; None: the parts of the module.
        mode: ``training`` (dropout, batch normalisation and their like as in an optimiser's step) or ``evaluation``.
        direction: ``descent``, where the loss goes down, or ``ascent``: the sign of ``LossMeasurement.mean_gradient``.
        M: independent repetitions of the loss that a gradient averages, one number or several; by algebra from the same
            draws. With batches drawn anew ``critical_M`` says what more would bring.
        repeats: draws of each batch where batches are drawn anew (so there are draws/repeats batches), at least 2 for the
            parts of the variance; 1 gives the total alone.
        noise: shape of standard normal numbers that the loss takes as its last argument, fresh ones at each draw; many
            draws are then made at once by ``vmap`` where the loss allows it.
        dsnr: also measure the DSNR of every group, which makes the draws twice.
        progress: called with (done, total, note) as draws are finished.
        threads: of the processor, of each worker where there is an executor; None: 1 of a worker, else as torch decides.
        executor: makes the draws, as for ``snrkit.measure``; batches that are drawn anew are drawn here, in order, and sent.
        send: ``cloudpickle``, which an executor needs: all is sent with its code, which workers run.

    Returns:
        The tidy table of ``snrkit.runs.kinds.snr``, one row per (loss, M, block, metric): the loss's name is the
        ``estimator`` and K is 1. Readings are of the mean over M repetitions, as an optimiser would see it. With batches
        drawn anew, rows of scope ``dataset`` have the parts: ``monte_carlo_variance``, the mean variance within a batch, and
        ``data_variance``, that of batch means less their own noise, both signed, with intervals over batches. Remarks
        are logged as warnings and stand in ``table.attrs["remarks"]``. ``diagnose_loss`` has comparisons beside it.

    Raises:
        SpecError: an argument is out of range, or the loss gives nothing that can be measured.
        ModelError: the loss's own code raised; the cause is chained.
        CapabilityError: the parameters are spread over devices or processes, or have hooks that would run.
        NonFiniteError: a loss or gradient is NaN or infinite; it says in which draw.
        ResourceError: memory ran out.
    """
    found = diagnose_loss(
        loss, model_or_parameters, batch, draws=draws, seed=seed, groups=groups, mode=mode, direction=direction, M=M,
        repeats=repeats, noise=noise, dsnr=dsnr, progress=progress, threads=threads, executor=executor, send=send,
    )  # fmt: skip
    for remark in found.remarks:
        _LOG.warning("measure_loss: %s", remark)
    found.table.attrs["remarks"] = found.remarks
    return found.table


def diagnose_loss(  # noqa: PLR0913 (one option each; all by keyword)
    loss: Callable[..., Any] | Mapping[str, Callable[..., Any]],
    model_or_parameters: Any,
    batch: Any = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    groups: Mapping[str, Any] | None = None,
    mode: Mode = "training",
    direction: Direction = "descent",
    M: int | Iterable[int] = 1,
    repeats: int = 2,
    noise: Iterable[int] | None = None,
    dsnr: bool = False,
    run: str = "python",
    step: int = 0,
    data: str = "given",
    progress: Progress | None = None,
    threads: int | None = None,
    executor: Any = None,
    send: Send = "specification",
) -> LossMeasurement:
    """All that is measured of losses: beside the table differences between them on the same seeds, and the mean gradient.

    Args:
        loss: as for ``measure_loss``.
        model_or_parameters: as for ``measure_loss``.
        batch: as for ``measure_loss``.
        draws: as for ``measure_loss``.
        seed: as for ``measure_loss``.
        groups: as for ``measure_loss``.
        mode: as for ``measure_loss``.
        direction: as for ``measure_loss``.
        M: as for ``measure_loss``.
        repeats: as for ``measure_loss``.
        noise: as for ``measure_loss``.
        dsnr: as for ``measure_loss``.
        run: what the tables call the model.
        step: optimiser steps that it has seen.
        data: what the tables call the batch.
        progress: called with (done, total, note) as draws are finished.
        threads: of the processor, of each worker where there is an executor; None: 1 of a worker, else as torch decides.
        executor: makes the draws, as for ``snrkit.measure``; batches that are drawn anew are drawn here, in order, and sent.
        send: ``cloudpickle``, which an executor needs: all is sent with its code, which workers run.

    Returns:
        ``table``, ``comparisons``, ``remarks``, ``mean_gradient()``; ``save(path)`` writes the tables.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError, ResourceError: as for ``measure_loss``.
    """
    what = asked(
        loss, model_or_parameters, groups, batch, draws=draws, seed=seed, mode=mode, direction=direction, M=M,
        repeats=repeats, noise=noise, dsnr=dsnr,
    )  # fmt: skip
    about = Provenance(run, whole("step", step, 0, "count from 0"), data)
    return carried_out(what, provenance=about, progress=progress, threads=threads, elsewhere=elsewhere(executor, send))


def carried_out(
    what: Asked,
    *,
    provenance: Provenance = Provenance(),  # noqa: B008 (frozen)
    known: Mapping[str, Found] | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
    elsewhere: Elsewhere | None = None,
) -> LossMeasurement:
    """Carry out what was asked of losses.

    Args:
        what: see ``asked``.
        provenance: labels for the tables.
        known: what an earlier measurement of the same losses found at their trial, which is then not made again.
        progress: called with (done, total, note).
        threads: as for ``measure_loss``.
        elsewhere: workers that make the draws; None: this process does.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError, ResourceError: as for ``measure_loss``.
    """
    count = threads_of(threads, elsewhere)
    by = None if elsewhere is None else By.sending(what, elsewhere)
    with opened(what) as ready, on_threads(count):
        done = {name: measured(ready, what, name, (known or {}).get(name), progress, by) for name in what.losses}
    table = rows(what, done, provenance)
    remarks = list(dict.fromkeys(remark for found in done.values() for remark in found.remarks))
    found = {name: one.found for name, one in done.items()}
    sign = -1 if what.direction == "descent" else 1
    return LossMeasurement(table, comparisons(what, done, provenance), remarks, found, done, what.trained, sign)
