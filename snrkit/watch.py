"""Measuring runs while they are trained, by the same specification and code as finished ones."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from snrkit.data import load
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.tables import Provenance
from snrkit.estimators.hyper import Hyper
from snrkit.evaluation.points import named_points
from snrkit.interrupt import Interrupted
from snrkit.specs.measure import WatchFile
from snrkit.specs.run import RunSpec
from snrkit.training.loop import Stopped
from snrkit.training.opening import resolve_spec
from snrkit.training.trainer import Trainer

Observe = Callable[[Trainer, Stopped], None]


def watching(tables: Mapping[str, Any]) -> Observe:
    """What to do at the end of a run's epoch: measure, on streams of its own, and add the rows to the run's table.

    Args:
        tables: ``measure`` and ``execution``, as read from TOML; without them nothing is measured.
    """

    def observe(trainer: Trainer, stopped: Stopped) -> None:
        spec, own = trainer.spec, WatchFile.of(tables, trainer.spec.seed)
        if own is None or (trainer.epoch + 1) % (own.measure.every or spec.epochs):
            return
        plan = Plan.of(own.measure, [trainer.estimator], own.execution)
        x, label = named_points(trainer.dataset, spec, trainer.device, own.measure.data_points)
        about = Provenance(trainer.run_dir.name, trainer.step, label)
        found = diagnose(trainer.model, x, plan, provenance=about, stop=stopped)
        if not found.complete:
            raise Interrupted
        replace(found, asked=plan.written(own.measure.data_points)).save(trainer.run_dir.snr)

    return observe


def require_measurable(tables: Mapping[str, Any], spec: RunSpec, data_dir: Path | None, device: torch.device) -> None:
    """See to it that a run can be measured so, before an epoch of it is trained; arguments as for ``watching``.

    Raises:
        SnrkitError: it cannot.
    """
    asked = WatchFile.of(tables, spec.seed)
    if asked is None:
        return
    Plan.of(asked.measure, [Hyper(spec).present(0)], asked.execution)
    dataset = load(spec.data, data_dir)
    named_points(dataset, resolve_spec(spec, dataset), device, asked.measure.data_points)
