"""Measuring runs while they are trained, by the same specification and code as finished ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from snrkit.data import load
from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.tables import Provenance
from snrkit.errors import SpecError
from snrkit.estimators.hyper import Hyper
from snrkit.evaluation.points import named_points
from snrkit.interrupt import Interrupted
from snrkit.specs.measure import WatchFile
from snrkit.specs.run import RunSpec
from snrkit.training.loop import Stopped, nothing
from snrkit.training.opening import resolve_spec
from snrkit.training.trainer import Trainer

Observe = Callable[[Trainer, Stopped], None]


def watching(asked: WatchFile | None) -> Observe:
    """What to do at the end of a run's epoch: measure, on streams of its own, and add the rows to the run's table.

    Args:
        asked: what, when and how; None: nothing is measured.
    """
    if asked is None:
        return nothing

    def observe(trainer: Trainer, stopped: Stopped) -> None:
        spec, what = trainer.spec, asked.measure.of(trainer.spec)
        if (trainer.epoch + 1) % (what.every or spec.epochs):
            return
        plan = Plan.of(what, [trainer.estimator], asked.execution)
        x, label = named_points(trainer.dataset, spec, trainer.device, what.data_points)
        about = Provenance(trainer.run_dir.name, trainer.step, label)
        found = diagnose(trainer.model, x, plan, provenance=about, stop=stopped)
        if not found.complete:
            raise Interrupted
        replace(found, asked=plan.written(what.data_points)).save(trainer.run_dir.snr)

    return observe


def require_due(asked: WatchFile | None, spec: RunSpec) -> None:
    """See to it that there is an epoch at whose end a run is measured.

    Raises:
        SpecError: there is none.
    """
    every = 1 if asked is None else asked.measure.every or 1
    if asked is not None and every > spec.epochs:
        problem = f"is every {every} epochs, and there are {spec.epochs}, so that nothing would be measured"
        raise SpecError("measure.every", problem, "ask for fewer, train for more, or measure what is trained")


def require_measurable(asked: WatchFile | None, spec: RunSpec, data_dir: Path | None, device: torch.device) -> None:
    """See to it that a run can be measured so, before an epoch of it is trained; arguments as for ``watching``.

    Raises:
        SnrkitError: it cannot.
    """
    if asked is None:
        return
    require_due(asked, spec)
    dataset = load(spec.data, data_dir)
    try:
        Plan.of(asked.measure.of(spec), [Hyper(spec).present(0, 0)], asked.execution)
        named_points(dataset, resolve_spec(spec, dataset), device, asked.measure.data_points)
    except SpecError as error:
        raise SpecError(f"measure.{error.argument}", error.problem, error.remedy) from None
