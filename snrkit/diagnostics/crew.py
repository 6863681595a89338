"""Draws made by workers elsewhere (``remote``): handed out ahead, taken as they come, read in their order."""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from snrkit.diagnostics import remote
from snrkit.diagnostics.makers import Keep, Tallied
from snrkit.diagnostics.metrics.base import Family
from snrkit.diagnostics.moments import BlockMoments, DeviceBlock, Rounding
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.projecting import Onto, Projected
from snrkit.diagnostics.store import Store, unsealed
from snrkit.diagnostics.weights import WeightTally
from snrkit.diagnostics.worker import Worker
from snrkit.errors import SnrkitError
from snrkit.fleet.dispatch import Dispatch, Task
from snrkit.fleet.orders import Cargo
from snrkit.fleet.shared import SharedFolder
from snrkit.interrupt import Interrupted

_HERE = remote.__name__


class Crew:
    """Workers that make the draws of one measurement.

    Args:
        dispatch: hands out orders.
        station: the model and data, as ``remote.station`` opens them.
        store: knows what a block must be.
        worker: the same model and data here.
    """

    def __init__(self, dispatch: Dispatch, station: Cargo, store: Store, worker: Worker) -> None:
        self._dispatch, self._station, self._store, self._worker = dispatch, station, store, worker
        self._keep: Keep = lambda *_: None
        self._onto: Cargo | None = None
        self._shared: SharedFolder | None = None

    def expect(
        self, jobs: Sequence[Job], tallied: Mapping[Job, Tallied], has: Callable[[Job, range], bool], keep: Keep
    ) -> None:
        """Hand out what there is room for."""
        self._keep = keep
        if self._store.folder is not None:
            self._shared = SharedFolder(self._store.folder)
        self._dispatch.expect(self._announced(jobs, tallied, has))

    def _announced(
        self, jobs: Sequence[Job], tallied: Mapping[Job, Tallied], has: Callable[[Job, range], bool]
    ) -> Iterator[tuple[Hashable, Task]]:
        for job in jobs:
            if job in tallied:
                yield ("weights", job), self._weights(job, *tallied[job])
            for draws in job.blocks():
                if not has(job, draws):
                    yield ("block", job, draws), self._block(job, draws)
            yield ("rounding", job), self._rounding(job)
            yield ("serving", job), self._serving(job)

    def block(self, job: Job, draws: range) -> BlockMoments | DeviceBlock:
        """Waited for."""
        found: BlockMoments = self._result(("block", job, draws), self._block(job, draws))
        return found

    def weights(self, job: Job, draws: int, families: Sequence[Family] = ()) -> WeightTally:
        """Waited for."""
        found: WeightTally = self._result(("weights", job), self._weights(job, draws, tuple(families)))
        return found

    def rounding(self, job: Job) -> Rounding:
        """Waited for; found out here where the draws are to stop."""
        with suppress(Interrupted):
            found: Rounding = self._result(("rounding", job), self._rounding(job))
            return found
        return self._worker.rounding(job)

    def serving(self, job: Job) -> dict[str, str]:
        """Waited for; found out here where the draws are to stop."""
        with suppress(Interrupted):
            found: dict[str, str] = self._result(("serving", job), self._serving(job))
            return found
        return self._worker.serving(job)

    def projected(self, job: Job, number: int, draws: range, onto: Onto) -> Projected:
        """Waited for."""
        found: Projected = self._result(("projected", job, number), self._projected(job, draws, onto))
        return found

    def expect_projected(self, job: Job, onto: Onto) -> None:
        """Hand out what there is room for."""
        self._onto = _packed(onto)
        blocks = enumerate(job.blocks())
        self._dispatch.expect((("projected", job, n), self._projected(job, draws, onto)) for n, draws in blocks)

    def seconds(self, job: Job) -> float | None:
        """What workers have spent on it."""
        spent = self._dispatch.seconds
        return sum(seconds for key, seconds in spent.items() if isinstance(key, tuple) and key[1] == job)

    def end(self) -> None:
        """Give up what is not done."""
        self._dispatch.cancel()
        if self._shared is not None:
            self._shared.end()

    def _result(self, key: Hashable, task: Task) -> Any:
        try:
            return self._dispatch.result(key, task)
        except SnrkitError:
            # What else was announced of a job that cannot be read is not wanted any more.
            self._dispatch.forget(
                lambda other: isinstance(other, tuple) and isinstance(key, tuple) and other[1] == key[1]
            )
            raise

    def _task(self, name: str, job: Job, own: tuple[Any, ...], read: Callable[[bytes], Any], size: int = 0) -> Task:
        return Task(f"{_HERE}:{name}", (job, *own), (self._station,), read, size=size, cost=job.M * job.K)

    def _opened(self, job: Job) -> Problem:
        return self._worker.opened(job)[0]

    def _block(self, job: Job, draws: range) -> Task:
        # A mean and a variance of each coordinate.
        size, file = 16 * self._opened(job).layout.size, self._store.file(job, draws)
        spot = None if file is None or self._shared is None else self._shared.spot(file)
        return Task(
            f"{_HERE}:block", (job, draws.start, draws.stop), (self._station,),
            lambda content: self._store.read(content, draws),
            lambda _, content: self._keep(job, draws, content), size, _cost(job, draws), spot,
        )  # fmt: skip

    def _weights(self, job: Job, draws: int, families: tuple[Family, ...]) -> Task:
        def read(content: bytes) -> WeightTally | None:
            plain = unsealed(content)
            return None if plain is None else WeightTally.of(plain, job, self._opened(job).groups, draws, families)

        return self._task("weights", job, (draws, [next(iter(family.metrics)) for family in families]), read)

    def _rounding(self, job: Job) -> Task:
        def read(content: bytes) -> Rounding | None:
            plain = unsealed(content)
            return None if plain is None else remote.rounding_of(plain, self._opened(job).layout.size)

        return self._task("rounding", job, (), read, 64 * self._opened(job).layout.size)

    def _serving(self, job: Job) -> Task:
        def read(content: bytes) -> dict[str, str] | None:
            with suppress(ValueError):
                found = json.loads(content)
                if isinstance(found, dict) and list(found) == list(self._opened(job).layout.names):
                    return {str(name): str(engine) for name, engine in found.items()}
            return None

        return self._task("serving", job, (), read)

    def _projected(self, job: Job, draws: range, onto: Onto) -> Task:
        cargos = self._station, self._onto or _packed(onto)

        def read(content: bytes) -> Projected | None:
            plain = unsealed(content)
            return None if plain is None else remote.projections_of(plain, onto)

        return Task(f"{_HERE}:projections", (job, draws.start, draws.stop), cargos, read, cost=_cost(job, draws))


def _cost(job: Job, draws: range) -> float:
    """What drawing a block is, in importance samples of a data point."""
    return len(draws) * job.M * job.K


def _packed(onto: Onto) -> Cargo:
    return Cargo.of(remote.packed(onto), f"{_HERE}:onto")
