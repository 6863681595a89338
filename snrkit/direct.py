"""What a run offers, of a model at hand: its gradients in full, its bounds, and advice. Nothing is trained or kept."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from snrkit.backend.machine import threads as on_threads
from snrkit.core.batches import Batch, leaves
from snrkit.core.streams import Streams
from snrkit.diagnostics import advise as _advise
from snrkit.diagnostics import measure as _measure
from snrkit.diagnostics.budget import affordable, cost_batch
from snrkit.diagnostics.plan import Plan, chosen
from snrkit.diagnostics.tables import Provenance
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import Estimator
from snrkit.evaluation import bounds
from snrkit.evaluation.portions import Portions
from snrkit.evaluation.score import as_table
from snrkit.fleet.elsewhere import elsewhere, threads_of
from snrkit.fleet.models import Send
from snrkit.models.base import LatentModel
from snrkit.specs.given import is_empty, require_is, whole
from snrkit.specs.measure import Execution, MeasureSpec
from snrkit.trial.opening import opened
from snrkit.types import Progress


def evaluate(
    model: nn.Module,
    x: Any,
    samples: int = 5000,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    threads: int | None = None,
    executor: Any = None,
    send: Send = "specification",
) -> pd.DataFrame:
    """Bounds, KL, ESS and active units of a model on given points, each with its standard error over points.

    Args:
        model: as for ``snrkit.measure``: a ``LatentModel``, any module with ``encode`` and ``log_joint``, or a wrapper.
        x: data points ``[N, *event]``, at least 2.
        samples: importance samples per point behind log p(x), at least 128; they are streamed, so memory stays bounded.
        seed: root of the noise.
        progress: called with (done, total, note).
        threads: of the processor, of each worker where there is an executor; None: 1 of a worker, else as torch decides.
        executor: scores the points, some at a time, as for ``snrkit.measure``; None: this process.
        send: how the model travels to its workers, as for ``snrkit.measure``.

    Returns:
        One row per ``metric`` (the index): ``value`` in nats or samples, ``stderr``, ``sd`` over points, ``definition``,
        ``layer``, ``dimensions`` and ``threads`` of the processor; the same numbers as ``snrkit evaluate`` gives of a run.

    Raises:
        SpecError: too few samples or points, or data that cannot be used.
        ModelError: the model's own code raises.
        CapabilityError: log-weights are no function of point and noise, or the data are no single tensor.
        NonFiniteError: a log-weight is NaN or +inf, or all of a point are -inf.
        ResourceError: the log-weights of one point do not fit into memory, or workers are lost again and again.
    """
    by = elsewhere(executor, send)
    score = None if by is None else Portions(None, "", by).scores
    with opened(model, x, "evaluation") as subject, on_threads(threads_of(threads, by)):
        points = _tensor(subject.x)
        scores = bounds.evaluate(subject.model, points, samples, Streams(_seed(seed)), progress, score)
        return as_table(scores, torch.get_num_threads())


def diagnose(  # noqa: PLR0913 (one option each; most by keyword)
    model: nn.Module,
    x: Any,
    spec: MeasureSpec = MeasureSpec(),  # noqa: B008 (frozen)
    how: Execution = Execution(),  # noqa: B008
    *,
    estimators: str | Estimator | Sequence[str | Estimator] = (),
    run: str = "python",
    step: int = 0,
    data: str = "",
    folder: str | Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    executor: Any = None,
    send: Send = "specification",
) -> _measure.Measurement:
    """All that ``snrkit snr`` measures, of a model at hand: bias, DSNR, slopes against theory, comparisons, kept draws.

    Args:
        model: as for ``snrkit.measure``.
        x: data ``[B, *event]``, all of which are measured; ``spec.data_points`` says nothing here.
        spec: what to measure.
        how: engine and chunk.
        estimators: whose gradients, where the specification names none: estimators, which may be of one's own, or
            registered names; none: iwae.
        run: what the tables call the model.
        step: optimiser steps that it has seen.
        data: what the tables call the points; empty: what ``measure`` says.
        folder: keep finished blocks of draws here, for the same call to go on from; see ``Measurement.settle``.
        progress: called with (done, total, note).
        stop: asked after every block of draws; True ends the measurement with what is finished.
        executor: makes the draws, as for ``snrkit.measure``; None: this process.
        send: how the model travels to its workers, as for ``snrkit.measure``.

    Returns:
        ``table``, ``slopes``, ``comparisons``, ``remarks``; ``save(path)`` writes them.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError: as for ``snrkit.measure``.
        OutputError: the folder cannot be written.
        Interrupted: stopped before anything could be read.
    """
    require_is("spec", spec, MeasureSpec)
    require_is("how", how, Execution)
    given = () if is_empty(estimators) else chosen(estimators)
    if given and spec.estimators:
        raise SpecError("estimators", "are named by the specification too", "name them in one of the two")
    plan = Plan.of(spec, given or "iwae", how)
    known = Provenance()
    about = dataclasses.replace(known, run=run, step=whole("step", step, 0, "count from 0"), data=data or known.data)
    place = None if folder is None else Path(folder)
    return _measure.diagnose(
        model,
        x,
        plan,
        provenance=about,
        folder=place,
        progress=progress,
        stop=stop,
        elsewhere=elsewhere(executor, send),
    )


def advise(  # noqa: PLR0913
    model: nn.Module,
    x: Any,
    budget: int | None = None,
    *,
    seconds: float | None = None,
    estimators: Sequence[str | Estimator] | None = None,
    draws: int = 1000,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: int | None = None,
    executor: Any = None,
    send: Send = "specification",
) -> _advise.Advice:
    """Which estimator, M and K to spend T = M K samples per data point on, by measuring them all.

    Args:
        model: as for ``snrkit.measure``.
        x: data points ``[B, *event]`` of the SNR and the bound.
        budget: samples per data point.
        seconds: what a training step may take, instead.
        estimators: the candidates: registered names, or estimators; None: the common ones that are right for the model.
        draws: gradient draws R per setting.
        batch_size: data points of the steps that are timed; None: as many as x has.
        seed: root of the noise.
        progress: called with (done, total, note).
        stop: asked after every block of draws; True ends them.
        threads: of draws and bounds, of each worker where there is an executor; None: 1 of a worker, else as torch decides.
            Steps are timed here, on as many as torch takes.
        executor: makes the draws, as for ``snrkit.measure``; None: this process.
        send: how the model travels to its workers, as for ``snrkit.measure``.

    Returns:
        ``recommendations`` and the ``table`` behind them; ``save(path)`` writes them.

    Raises:
        SpecError: not one of budget and seconds is given, or it cannot be spent so.
        ModelError, CapabilityError, NonFiniteError, ResourceError, Interrupted: as for ``Run.advise``.
    """
    if (budget is None) == (seconds is None):
        raise SpecError("budget", "give either `budget` or `seconds`", "for example `budget=64`")
    asked = None if estimators is None else chosen(estimators)
    by = elsewhere(executor, send)
    with opened(model, x, "evaluation") as subject:
        own: LatentModel = subject.model
        points = _tensor(subject.x)
        size = len(points) if batch_size is None else whole("batch_size", batch_size, 1, "give a minibatch")
        batch = cost_batch(points, size)
        total = affordable(own, batch, seconds or 0.0) if budget is None else whole("budget", budget, 1, "e.g. 64")
    found = _advise.advise(
        own, points, batch, total, asked or _advise.candidates(own, points), draws=draws, seed=_seed(seed),
        seconds=seconds, progress=progress, stop=stop, threads=threads_of(threads), elsewhere=by,
    )  # fmt: skip
    return dataclasses.replace(
        found, about={"run": "python", "step": 0, "data": "given", "budget": total, "draws": draws, "seed": seed}
    )


def _seed(seed: int) -> int:
    return whole("seed", seed, 0, "give a number from 0")


def _tensor(x: Batch) -> Tensor:
    """Data as one tensor.

    Raises:
        CapabilityError: they are a structure of several, of which bounds point by point are not offered.
    """
    if isinstance(x, Tensor):
        return x
    problem = f"are a structure of {len(list(leaves(x)))} tensors, and bounds are evaluated on a single one"
    raise CapabilityError("x", problem, "give one tensor, and take its parts in encode and log_joint")
