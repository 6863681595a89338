"""Measure the gradients of a model: the Python face of the diagnostics."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from snrkit.diagnostics import tables
from snrkit.diagnostics.draws import Drawer, Progress
from snrkit.diagnostics.gather import Drawn, Gatherer
from snrkit.diagnostics.metrics import Reading
from snrkit.diagnostics.plan import Job, Plan, chosen, counts, names
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.store import Store, fingerprint, parameters_digest, statement
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import Estimator
from snrkit.interrupt import Interrupted
from snrkit.kernels import full_precision
from snrkit.memory import keep_freed_memory
from snrkit.models.base import LatentModel, check_log_weights
from snrkit.streams import Streams
from snrkit.training.evaluate import evaluation_mode


@dataclass(frozen=True)
class Measurement:
    """What was measured.

    Attributes:
        plan: what was asked for.
        table: the tidy table of ``snrkit.results``.
        slopes: log-log slopes against K and M with theory's verdicts (see ``tables.SLOPES``).
        comparisons: differences between estimators on the same noise (see ``tables.COMPARISONS``).
        kept: draws of chosen coordinates (see ``tables.KEPT``); empty if none were asked for.
        complete: whether all draws were made; if not, the tables rest on the finished blocks.
        remarks: what was asked for and cannot be had, in sentences.
        source: what the tables were made from.
    """

    plan: Plan
    table: pd.DataFrame
    slopes: pd.DataFrame
    comparisons: pd.DataFrame
    kept: pd.DataFrame
    complete: bool
    remarks: list[str]
    source: tables.Source = field(repr=False)

    def strength(self, estimator: Estimator, M: int, K: int) -> dict[str, Reading]:
        """Block to the reading of snr_pooled_squared at (M, K), with its replicates."""
        return self.source.replicates(estimator, M, K, "snr_pooled_squared")


def measure(  # noqa: PLR0913 (one option each; most by keyword)
    model: LatentModel,
    x: Tensor,
    estimators: str | Estimator | Iterable[str | Estimator],
    K: int | Iterable[int],
    M: int | Iterable[int] = 1,
    draws: int = 1000,
    seed: int = 0,
    *,
    engine: str = "factors",
    direct: bool = False,
    chunk: int | None = None,
    blocks: str | Iterable[str] | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Moments of repeated gradient draws at fixed data and parameters, and the SNRs they imply.

    The gradient is that of the mean over the given data points, as an optimiser would see it ("minibatch" scope). By
    default unit gradients (one data point, M = 1) are drawn once per K, and every M and the minibatch follow by algebra:
    means stay, variances divide by M. A mean then rests on R/M effective draws; the floor says so. ``diagnose`` offers
    more: bias, DSNR, slopes, comparisons, interruption.

    Args:
        model: the model; its parameters, gradients and mode are left as they are.
        x: data ``[B, *event]``, finite; moved to the model's device and dtype.
        estimators: registered names or estimators, one or several, all drawn from the same noise.
        K: importance samples, one number or several, each at least 1.
        M: outer samples, one number or several, each at least 1.
        draws: gradient draws R, at least 4; they fall into 20 blocks (fewer if R < 40) for the intervals.
        seed: root of the noise.
        engine: registered name: ``factors`` (fast for linear layers, leaves the rest to the others), ``vmap``, ``loop``.
        direct: draw the minibatch gradient at each requested (M, K) itself instead of using the algebra.
        chunk: draws in one pass of vmap; None lets shapes decide. The noise, and so the result up to rounding, does not
            depend on it.
        blocks: of the rows: ``inference``, ``generative``, ``all``, or names of parameter tensors; None: every one.
        progress: called with (done, total, note) as draws are finished.

    Returns:
        The tidy table of ``snrkit.results``, one row per (estimator, M, K, block, metric). Rows of block ``all`` are absent
        where the two networks have different units (piwae at M > 1).

    Raises:
        SpecError: an argument is out of range, or the model does not accept the data.
        CapabilityError: the model does not offer what an estimator or the engine needs.
        NonFiniteError: a gradient is NaN or infinite.
    """
    if progress is not None and not callable(progress):
        raise SpecError("progress", f"must be a function, got {progress!r}", "leave it out")
    plan = Plan(
        chosen(estimators),
        counts("K", K),
        counts("M", M),
        draws,
        seed,
        engine=engine,
        direct=direct,
        chunk=chunk,
        blocks=None if blocks is None else names("blocks", blocks),
    )
    return diagnose(model, x, plan, progress=progress).table


def diagnose(
    model: LatentModel,
    x: Tensor,
    plan: Plan,
    *,
    provenance: tables.Provenance | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Measurement:
    """Carry out a plan.

    Args:
        model: the model; its parameters, gradients and mode are left as they are.
        x: data ``[B, *event]``, finite; moved to the model's device and dtype.
        plan: what to measure.
        provenance: labels for the tables.
        folder: keep finished blocks here until all are done; the same call then goes on where an interrupted one stopped
            and ends with the same result, bit for bit.
        progress: called with (done, total, note); done and total count importance samples.
        stop: asked after every block of draws; True ends the measurement with what is finished.

    Raises:
        SpecError, CapabilityError, NonFiniteError: as for ``measure``.
        OutputError: the folder cannot be written.
        Interrupted: stopped before anything could be read.
    """
    with opened(model, x, plan.direct) as points:
        layout = Layout.of(model, points)
        # Frozen parameters and buffers too: gradients depend on them.
        tensors = [*model.named_parameters(), *model.named_buffers()]
        labels = layout.names, plan.seed, plan.engine, plan.chunk, points.device.type, statement(model, points)
        context = fingerprint(tensors, points, *labels)
        store = Store(folder, context)
        drawer = Drawer(
            model, points, Streams(plan.seed),
            engine=plan.engine, chunk=plan.chunk, store=store, progress=progress, stop=stop,
        )  # fmt: skip
        gatherer = Gatherer(plan, drawer, layout, select_blocks(layout, plan.blocks))
        drawn = _gather(gatherer)
    complete = len(drawn) == len(gatherer.jobs()) and all(found.complete for found in drawn.values())
    if complete:
        store.clear()
    device = torch.cuda.get_device_name(points.device) if points.is_cuda else "cpu"
    dtype = str(points.dtype).removeprefix("torch.")
    about = provenance or tables.Provenance()
    source = tables.Source(plan, layout, drawn, about, parameters_digest(model), device, dtype)
    return Measurement(
        plan=plan,
        table=tables.readings(source),
        slopes=tables.slopes(source),
        comparisons=tables.comparisons(source),
        kept=tables.kept(source),
        complete=complete,
        remarks=gatherer.remarks(),
        source=source,
    )


@contextmanager
def opened(model: LatentModel, x: Tensor, direct: bool) -> Iterator[Tensor]:
    """The model ready to be measured within the block: checked, in evaluation mode and full precision, with gradients.

    Args:
        model: the model; its mode is put back.
        x: data ``[B, *event]``.
        direct: whether the whole minibatch is drawn at once.

    Yields:
        The data on the model's device and in its dtype.

    Raises:
        SpecError: the data cannot be measured, or the model does not accept them.
        CapabilityError: the model's points are not independent, and the draws are not direct.
    """
    keep_freed_memory()
    if torch.is_inference_mode_enabled():
        raise SpecError("torch.inference_mode", "gradients cannot be drawn within it", "measure outside of it")
    parameter = next((parameter for parameter in model.parameters() if parameter.requires_grad), None)
    if parameter is None:
        raise SpecError("model", "has no trainable parameter", "set requires_grad")
    x = torch.as_tensor(x).detach().to(parameter)
    if x.ndim == 0 or x.shape[0] == 0 or not bool(torch.isfinite(x).all()):
        raise SpecError("x", "must hold at least one data point, all of it finite", "give data [B, ...] without NaN")
    if not (direct or model.independent_points):
        raise CapabilityError(
            "model", "its data points are not independent", "use measure(direct=True) or snr --direct"
        )
    with evaluation_mode(model), full_precision(), torch.enable_grad():
        check_log_weights(model, x)
        yield x


def _gather(gatherer: Gatherer) -> dict[Job, Drawn]:
    """All jobs, or as many as there was time for.

    Raises:
        Interrupted: there was time for none.
    """
    gatherer.expect()
    drawn: dict[Job, Drawn] = {}
    for job in gatherer.jobs():
        try:
            drawn[job] = gatherer.gather(job)
        except Interrupted:
            if not drawn:
                raise
            break
    return drawn


def select_blocks(layout: Layout, names: Sequence[str] | None) -> dict[str, slice]:
    """The blocks by these names, or every one.

    Raises:
        SpecError: the model has no such block.
    """
    if names is None:
        return layout.blocks
    for name in names:
        if name not in layout.blocks:
            raise SpecError("block", f"no block '{name}' in this model", f"choose from {', '.join(layout.blocks)}")
    return {name: layout.blocks[name] for name in names}
