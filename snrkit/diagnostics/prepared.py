"""From a model that was tried to what draws its gradients."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from snrkit.backend.kernels import chosen
from snrkit.core.streams import Streams
from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.noise import labels_of
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.precision import computed_in
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.store import Store, fingerprint, statement
from snrkit.diagnostics.worker import Worker
from snrkit.errors import SpecError
from snrkit.registry import makers
from snrkit.trial.opening import Subject
from snrkit.types import Progress


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
    subject: Subject, plan: Plan, folder: Path | None, progress: Progress | None, stop: Callable[[], bool]
) -> Prepared:
    """A drawer of a model that was tried, whose blocks are named by all that they depend on; arguments as for ``diagnose``.

    Args:
        subject: the model and data.
        plan: one that suits them.
        folder: of finished blocks.
        progress: called with (done, total, note).
        stop: asked after every block of draws.
    """
    model, x = subject.model, subject.x
    layout = Layout.of(model, x)
    # Frozen parameters and buffers too: gradients depend on them.
    tensors = [*model.named_parameters(), *model.named_buffers()]
    said, precision = statement(model, x), computed_in(model, x)
    subject.snapshot.restore()  # of a model that keeps something the calls above have moved on
    made_by = makers(model, ENGINES.load(plan.how.engine))
    labels = (
        layout.names, plan.seed, plan.how.engine, plan.how.chunk, subject.device.type, said, precision, plan.mode, *made_by,
        chosen(next(model.parameters()).dtype, subject.device), *labels_of(subject.device),
    )  # fmt: skip
    store = Store(folder, fingerprint(tensors, x, *labels), (layout.size, len(layout.names)))
    worker = Worker(
        model, x, Streams(plan.seed), engine=plan.how.engine, chunk=plan.how.chunk,
        restart=subject.snapshot if subject.findings.whole else None, exchangeable=subject.findings.exchangeable,
    )  # fmt: skip
    drawer = Drawer(worker, store, progress, stop)
    return Prepared(layout, store, drawer, precision)


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
