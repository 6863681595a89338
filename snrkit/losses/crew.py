"""Draws of losses made by workers elsewhere (``remote``): what is sent to them, and what is taken of what they give.

Batches that are drawn anew are drawn here, in their order, whatever draws them and whatever it keeps, and go with the block
of draws that is theirs; a block whose worker is lost goes again with the same batches.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from snrkit.backend.kernels import chosen
from snrkit.backend.memory import require_memory
from snrkit.diagnostics.moments import BlockMoments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.projecting import Onto, Projected
from snrkit.diagnostics.remote import packed, projections_of
from snrkit.diagnostics.store import Store, unsealed
from snrkit.errors import CapabilityError, SpecError
from snrkit.fleet.dispatch import Dispatch, Task
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.fleet.models import pickled
from snrkit.fleet.orders import Cargo
from snrkit.losses import remote
from snrkit.losses.around import around
from snrkit.losses.asked import Asked
from snrkit.losses.batches import tensors_of
from snrkit.losses.drawing import BatchOf, OfBatches, Told, Within
from snrkit.losses.trial import Found

_HERE = remote.__name__
# Bytes of batches that are drawn ahead of the workers.
_AHEAD = 2**30
# Batches of a block, what is to be done with them, and how many bytes they are.
_Ahead = tuple[range, Task, int]


@dataclass(frozen=True)
class By:
    """Workers that make draws of losses.

    Attributes:
        elsewhere: the workers.
        cargo: the losses with their batch; None where batches are drawn anew.
    """

    elsewhere: Elsewhere
    cargo: Cargo | None

    @classmethod
    def sending(cls, what: Asked, elsewhere: Elsewhere) -> "By":
        """Losses sent to workers.

        Raises:
            SpecError: that was not agreed to, or they cannot be pickled.
            CapabilityError: they have a batch, or reach something, with a graph of gradients.
        """
        if elsewhere.fleet.send != "cloudpickle":
            problem = "is code, which workers have not got"
            raise SpecError("loss", problem, "say send='cloudpickle' to have it sent, with what it reaches")
        for name, loss in what.losses.items():
            _require_no_graph(f"loss '{name}'", around(loss).tensors)
        return cls(elsewhere, None if what.redrawn else _packed(what))

    def crew(self, what: Asked, name: str, job: Job, found: Found, first: Any, told: Told) -> "Crew":
        """What has the draws of one loss made.

        Args:
            what: what is asked.
            name: of the loss.
            job: its draws.
            found: what its trial said.
            first: its batch; of several, the first.
            told: called with how many draws were made.

        Raises:
            CapabilityError: a seed does not repeat its draws.
        """
        if not found.reproducible:
            problem = (
                "draws from a generator of its own or goes on with what it keeps, so that workers would draw the same"
            )
            raise CapabilityError(f"loss '{name}'", problem, "leave out the executor")
        return Crew(self.elsewhere, self.cargo or _packed(replace(what, batch=first)), what, name, job, found, told)


class Crew:
    """Workers that make the draws of one loss.

    Args:
        elsewhere: the workers.
        cargo: the loss with a batch, as it was sent.
        what: what is asked.
        name: of the loss.
        job: its draws.
        found: what its trial said.
        told: called with how many draws were made.
    """

    def __init__(
        self, elsewhere: Elsewhere, cargo: Cargo, what: Asked, name: str, job: Job, found: Found, told: Told
    ) -> None:
        self._elsewhere, self._cargo, self._what = elsewhere, cargo, what
        self._name, self._job, self._found, self._told = name, job, found, told
        tensor = what.trained.tensors[0]
        self._library = chosen(tensor.dtype, tensor.device)
        self._store = Store(None, "", (what.trained.layout.size, 1))

    def fixed(self) -> list[BlockMoments]:
        """The blocks of draws of one batch.

        Raises:
            SnrkitError: what a worker raised.
        """
        return self._done({draws: self._fixed(draws) for draws in self._job.blocks()})

    def projected(self, onto: Onto) -> list[Projected]:
        """The same draws once more, projected; raises as ``fixed``."""
        cargo = Cargo.of(packed(onto), f"{packed.__module__}:onto")
        return self._done({draws: self._projected(draws, onto, cargo) for draws in self._job.blocks()})

    def _done(self, tasks: Mapping[range, Task]) -> list[Any]:
        """Results, in order."""
        with self._elsewhere.dispatch(self._library) as dispatch:
            dispatch.expect(tasks.items())
            return [dispatch.result(draws, task) for draws, task in tasks.items()]

    def redrawn(self, batch_of: BatchOf) -> list[OfBatches]:
        """The blocks of draws of batches that are drawn anew; some are drawn while workers are at others.

        Args:
            batch_of: number to batch; called in order.

        Raises:
            CapabilityError: a batch has a graph of gradients.
            ResourceError: those of a block do not fit in memory.
            SnrkitError: what a worker raised.
        """
        blocks, ahead = deque(self._job.blocks()), deque[_Ahead]()
        found, size = list[OfBatches](), 0
        with self._elsewhere.dispatch(self._library) as dispatch:
            while blocks or ahead:
                while blocks and (not ahead or size < _AHEAD):
                    ahead.append(self._announced(dispatch, blocks.popleft(), batch_of))
                    size += ahead[-1][2]
                numbers, task, own = ahead.popleft()
                found.append(dispatch.result(numbers, task))
                # It holds the batches, and others are drawn next.
                del task
                size -= own
        return found

    def _announced(self, dispatch: Dispatch, numbers: range, batch_of: BatchOf) -> _Ahead:
        """The batches of a block drawn, and the block announced."""
        content = self._drawn(numbers, batch_of)
        task = self._of_batches(numbers, content)
        dispatch.expect([(numbers, task)])
        return numbers, task, len(content)

    def _drawn(self, numbers: range, batch_of: BatchOf) -> bytes:
        """The batches of a block, packed."""
        batches = []
        for number in numbers:
            batches.append(batch_of(number))
            held = tensors_of(batches[-1])
            _require_no_graph("batch", held)
            if number == 0:
                asked = f"{len(numbers)} batches of a block of draws, as they are sent to a worker,"
                size = 2 * len(numbers) * sum(tensor.nbytes for tensor in held)
                require_memory("draws", asked, size, "give fewer draws, a smaller batch, or leave out the executor")
        return pickled("batch", batches)

    def _fixed(self, draws: range) -> Task:
        return self._task(
            "block", (draws.start, draws.stop), lambda content: self._store.read(content, draws), len(draws)
        )

    def _projected(self, draws: range, onto: Onto, cargo: Cargo) -> Task:
        def read(content: bytes) -> Projected | None:
            plain = unsealed(content)
            return None if plain is None else projections_of(plain, onto)

        return self._task("projections", (draws.start, draws.stop), read, len(draws), cargo)

    def _of_batches(self, numbers: range, batches: bytes) -> Task:
        def read(content: bytes) -> OfBatches | None:
            return self._read(content, numbers)

        arguments = numbers.start, numbers.stop, batches
        return self._task("block_of_batches", arguments, read, len(numbers) * self._what.repeats)

    def _task(self, work: str, own: tuple[Any, ...], read: Callable[[bytes], Any], draws: int, *cargos: Cargo) -> Task:
        size = self._what.trained.layout.size
        return Task(
            f"{_HERE}:{work}", (self._name, self._job, self._found, *own), (self._cargo, *cargos), read,
            lambda *_: self._told(draws), 32 * size, draws,
        )  # fmt: skip

    def _read(self, content: bytes, numbers: range) -> OfBatches | None:
        """What ``remote.block_of_batches`` gave, or None where it is not that."""
        plain = unsealed(content) or {}
        single, means = (
            self._store.read(plain[name].tobytes(), numbers) if name in plain else None for name in ("single", "means")
        )
        if single is None or self._what.repeats == 1:
            return None if single is None else OfBatches(single, None, None)
        traces = plain.get("traces")
        if means is None or traces is None or traces.shape != (len(self._what.trained.tensors),):
            return None
        return OfBatches(single, means, Within(len(numbers), traces)) if (traces >= 0).all() else None


def _packed(what: Asked) -> Cargo:
    _require_no_graph("batch", tensors_of(what.batch))
    return Cargo.of(pickled("loss", what), "snrkit.fleet.models:unpickled")


def _require_no_graph(argument: str, tensors: list[Tensor]) -> None:
    """See to it that tensors can be sent: a graph of gradients behind them would be lost, and with it those gradients.

    Raises:
        CapabilityError: one has it.
    """
    if any(tensor.grad_fn is not None for tensor in tensors):
        problem = "has a tensor that is computed from others that take gradients, which workers would not know"
        raise CapabilityError(argument, problem, "detach it, compute it within the loss, or leave out the executor")
