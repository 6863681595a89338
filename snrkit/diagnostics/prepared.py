"""From a model that was tried to what draws its gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from snrkit.backend.device import kind_of
from snrkit.backend.kernels import chosen
from snrkit.backend.machine import Machine
from snrkit.core.streams import Streams
from snrkit.diagnostics.crew import Crew
from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.noise import labels_of
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.precision import computed_in
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.store import Store, fingerprint
from snrkit.diagnostics.worker import Worker
from snrkit.errors import SpecError
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.fleet.models import on
from snrkit.registry import makers
from snrkit.trial.opening import Subject
from snrkit.trial.statement import Said, said_of
from snrkit.types import Progress


def count(plan: Plan, elsewhere: Elsewhere | None) -> int | None:
    """Threads of the processor that a plan is carried out on; None: as many as torch takes anyway."""
    return plan.how.threads or (None if elsewhere is None else 1)


@dataclass(frozen=True)
class Prepared:
    """What draws a plan's jobs.

    Attributes:
        layout: order of the parameters.
        store: finished blocks.
        drawer: draws, and keeps blocks in the store.
        precision: that the model computes in.
    """

    layout: Layout
    store: Store
    drawer: Drawer
    precision: str


def prepared(
    subject: Subject,
    plan: Plan,
    folder: Path | None,
    progress: Progress | None,
    stop: Callable[[], bool],
    elsewhere: Elsewhere | None = None,
) -> Prepared:
    """A drawer of a model that was tried, whose blocks are named by all that they depend on; arguments as for ``diagnose``.

    Args:
        subject: the model and data.
        plan: one that suits them.
        folder: of finished blocks.
        progress: called with (done, total, note).
        stop: asked after every block of draws.
        elsewhere: where the draws are made; None: here.
    """
    model, x = subject.model, subject.x
    layout = Layout.of(model, x)
    # Frozen parameters and buffers too: gradients depend on them.
    tensors = [*model.named_parameters(), *model.named_buffers()]
    said, precision = said_of(model, x), computed_in(model, x)
    subject.snapshot.restore()  # of a model that keeps something the calls above have moved on
    made_by = makers(model, ENGINES.load(plan.how.engine))
    library = chosen(next(model.parameters()).dtype, subject.device)
    machine = Machine.here() if elsewhere is None else elsewhere.fleet.hands.machine
    labels = (
        layout.names, plan.seed, plan.how.engine, plan.how.chunk, kind_of(subject.device), str(said), precision, plan.mode,
        *made_by, library, *labels_of(subject.device), f"{torch.get_num_threads()} threads", machine.label,
    )  # fmt: skip
    store = Store(folder, fingerprint(tensors, x, *labels), (layout.size, len(layout.names)))
    worker = Worker(
        model, x, Streams(plan.seed), engine=plan.how.engine, chunk=plan.how.chunk,
        restart=subject.snapshot if subject.findings.whole else None, exchangeable=subject.findings.exchangeable,
    )  # fmt: skip
    crew = None
    if elsewhere is not None:
        crew = _crew(subject, plan, elsewhere, said, made_by, library, store, worker, stop)
    return Prepared(layout, store, Drawer(worker, store, progress, stop, crew), precision)


def _crew(
    subject: Subject,
    plan: Plan,
    elsewhere: Elsewhere,
    said: Said,
    made_by: list[str],
    library: str,
    store: Store,
    worker: Worker,
    stop: Callable[[], bool],
) -> Crew:
    """Workers to whom a model that was tried is sent.

    Raises:
        SpecError: it, or an estimator, cannot be sent.
    """
    send = elsewhere.fleet.send
    own = [each.name for each in plan.estimators if not _is_registered(each)]
    if send == "specification" and own:
        problem = f"{', '.join(own)} is of your own, whose code workers have not got"
        raise SpecError("estimators", problem, "say send='cloudpickle' to have it sent")
    content = {
        "x": on(subject.x, "cpu"), "mode": plan.mode, "seed": plan.seed, "engine": plan.how.engine, "chunk": plan.how.chunk,
        "whole": subject.findings.whole, "exchangeable": subject.findings.exchangeable, "said": said.plain,
        "made_by": made_by,
    }  # fmt: skip
    cargo = elsewhere.cargo(content, subject.model, subject.device, "snrkit.diagnostics.remote:station")
    return Crew(elsewhere.orders(library, stop), cargo, store, worker)


def _is_registered(estimator: Estimator) -> bool:
    return estimator.name in ESTIMATORS.names and ESTIMATORS.load(estimator.name) is type(estimator)


def select_blocks(layout: Layout, names: Sequence[str] | None, argument: str = "blocks") -> dict[str, slice]:
    """The blocks by these names, or every one; ``argument`` is where the user gave them.

    Raises:
        SpecError: the model has no such block.
    """
    if names is None:
        return layout.blocks
    for name in names:
        if name not in layout.blocks:
            raise SpecError(argument, f"no block '{name}' in this model", f"choose from {', '.join(layout.blocks)}")
    return {name: layout.blocks[name] for name in names}
