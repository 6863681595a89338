"""Measuring a run while it is trained, by the same specification and code as a finished one."""

from collections.abc import Callable
from pathlib import Path

import torch

from snrkit.data import load
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.tables import Provenance
from snrkit.estimators.base import build_estimator
from snrkit.evaluation.points import named_points
from snrkit.interrupt import Interrupted
from snrkit.specs.measure import WatchFile
from snrkit.specs.run import RunSpec
from snrkit.training.loop import Stopped
from snrkit.training.trainer import Trainer
from snrkit.training.opening import resolve_spec

Observe = Callable[[Trainer, Stopped], None]


def watching(asked: WatchFile, spec: RunSpec, data_dir: Path | None, device: torch.device) -> Observe:
    """What to do at the end of an epoch: measure, on streams of its own, and add the rows to the run's table.

    Args:
        asked: what to measure, when and how.
        spec: the run.
        data_dir: folder of the data files; None: SNRKIT_DATA or the cache.
        device: where.

    Raises:
        SnrkitError: it could not be measured so; said here, before an epoch is trained.
    """
    what, dataset = asked.measure, load(spec.data, data_dir)
    x, label = named_points(dataset, resolve_spec(spec, dataset), device, what.data_points)
    Plan.of(what, [build_estimator(spec.estimator.name, spec.estimator.options)], asked.execution)

    def observe(trainer: Trainer, stopped: Stopped) -> None:
        epoch = trainer.epoch + 1
        if epoch % (what.every or spec.epochs):
            return
        plan = Plan.of(what, [trainer.estimator], asked.execution)
        found = diagnose(
            trainer.model, x, plan, provenance=Provenance(trainer.run_dir.name, trainer.step, label), stop=stopped
        )
        if not found.complete:
            raise Interrupted
        found.save(trainer.run_dir.snr)

    return observe
