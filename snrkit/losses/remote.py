"""Draws of losses by workers: what is sent, what they make of it, and what is taken of that."""

from collections.abc import Callable

from snrkit.backend.kernels import chosen
from snrkit.diagnostics.moments import BlockMoments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.store import Store, written
from snrkit.errors import CapabilityError, SpecError
from snrkit.fleet.dispatch import Task
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.fleet.models import pickled
from snrkit.fleet.orders import Cargo
from snrkit.losses.asked import Asked
from snrkit.losses.drawing import fixed_block, held_for
from snrkit.losses.makers import maker
from snrkit.losses.opening import opened
from snrkit.losses.trial import Found


def sent(what: Asked, elsewhere: Elsewhere) -> Cargo:
    """Losses with their parameters and batch, and their code.

    Raises:
        SpecError: that was not agreed to, or they cannot be pickled.
        CapabilityError: batches are drawn anew, which only this process can go on with.
    """
    if elsewhere.fleet.send != "cloudpickle":
        problem = "is code, which workers have not got"
        raise SpecError("loss", problem, "say send='cloudpickle' to have it sent, with what it reaches")
    if what.redrawn:
        problem = "draws batches anew, and workers could not tell which comes next"
        raise CapabilityError("batch", problem, "give one batch, or leave out the executor")
    return Cargo.of(pickled("loss", what), "snrkit.fleet.models:unpickled")


def block(what: Asked, name: str, job: Job, found: Found, start: int, stop: int) -> bytes:
    """The side of workers: the moments of a block of draws."""
    with opened(what.trained, what.losses, what.seed, what.mode, what.noise) as ready:
        ready.restart.needed = found.moves
        make = maker(ready, name, found, what.batch)
        held = held_for(name, what.trained, job)
        return written(fixed_block(name, held, range(start, stop), make.write, what.batch, lambda _: None))


def gathered(
    what: Asked, name: str, job: Job, found: Found, cargo: Cargo, elsewhere: Elsewhere, told: Callable[[int], None]
) -> list[BlockMoments]:
    """The blocks of draws of a loss, made by workers.

    Raises:
        CapabilityError: a seed does not repeat its draws.
        SnrkitError: what a worker raised.
    """
    if not found.reproducible:
        problem = (
            "draws from a generator of its own or goes on with something that it keeps, so workers would draw the same"
        )
        raise CapabilityError(f"loss '{name}'", problem, "leave out the executor")
    layout, tensor = what.trained.layout, what.trained.tensors[0]
    store = Store(None, "", (layout.size, 1))

    def task(draws: range) -> Task:
        return Task(
            f"{__name__}:block", (name, job, found, draws.start, draws.stop), (cargo,),
            lambda content: store.read(content, draws), lambda *_: told(len(draws)), 16 * layout.size,
        )  # fmt: skip

    tasks = {draws: task(draws) for draws in job.blocks()}
    with elsewhere.dispatch(chosen(tensor.dtype, tensor.device)) as dispatch:
        dispatch.expect(tasks.items())
        return [dispatch.result(draws, task) for draws, task in tasks.items()]
