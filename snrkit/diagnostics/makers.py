"""Who makes draws: this process by itself, or a crew of workers (``crew``). The same draws either way."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from snrkit.diagnostics.metrics.base import Family
from snrkit.diagnostics.moments import BlockMoments, DeviceBlock, Rounding
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.projecting import Onto, Projected, projected
from snrkit.diagnostics.weights import WeightTally
from snrkit.diagnostics.worker import Worker

# Draws whose log-weights are looked at, and the families of metrics that want to know.
Tallied = tuple[int, tuple[Family, ...]]
# Called with every block that is made, as soon as it is: by itself, as bytes of ``store.written``, or None once it is kept.
Keep = Callable[[Job, range, BlockMoments | DeviceBlock | bytes | None], None]


class Maker(Protocol):
    """Makes draws."""

    def expect(
        self, jobs: Sequence[Job], tallied: Mapping[Job, Tallied], has: Callable[[Job, range], bool], keep: Keep
    ) -> None:
        """Announce what will be asked for.

        Args:
            jobs: in the order in which they will be.
            tallied: those whose log-weights will be looked at, and how.
            has: whether a block of draws is there already.
            keep: called with every block that is made.
        """

    def block(self, job: Job, draws: range) -> BlockMoments | DeviceBlock:
        """The moments of a block of draws; ``keep`` has been called with it.

        Raises:
            Interrupted: asked to stop while it was waited for.
            NonFiniteError, ResourceError: as ``Worker.block``.
        """

    def weights(self, job: Job, draws: int, families: Sequence[Family] = ()) -> WeightTally:
        """What the log-weights of the first draws say; as ``Worker.weights``."""

    def rounding(self, job: Job) -> Rounding:
        """What is known of the rounding of a job's draws."""

    def serving(self, job: Job) -> dict[str, str]:
        """Name of each parameter to the engine that computes its moments."""

    def projected(self, job: Job, number: int, draws: range, onto: Onto) -> Projected:
        """The draws of the block of that number, projected; raises as ``block``."""

    def expect_projected(self, job: Job, onto: Onto) -> None:
        """Announce that the draws of all blocks will be projected."""

    def seconds(self, job: Job) -> float | None:
        """What workers have spent on a job; None where that is the time that has passed."""

    def end(self) -> None:
        """Nothing more will be asked for."""


class Alone:
    """This process.

    Args:
        worker: makes the draws.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._keep: Keep = lambda *_: None
        self.rounding, self.serving, self.weights = worker.rounding, worker.serving, worker.weights

    def expect(
        self,
        jobs: Sequence[Job],  # noqa: ARG002
        tallied: Mapping[Job, Tallied],  # noqa: ARG002
        has: Callable[[Job, range], bool],  # noqa: ARG002
        keep: Keep,
    ) -> None:
        """Nothing is made before it is asked for."""
        self._keep = keep

    def block(self, job: Job, draws: range) -> BlockMoments | DeviceBlock:
        """Made now."""
        block = self._worker.block(job, draws)
        self._keep(job, draws, block)
        return block

    def projected(self, job: Job, number: int, draws: range, onto: Onto) -> Projected:  # noqa: ARG002
        """Made now."""
        return projected(self._worker, job, draws, onto)

    def expect_projected(self, job: Job, onto: Onto) -> None:
        """Nothing is made before it is asked for."""

    def seconds(self, job: Job) -> float | None:  # noqa: ARG002
        """That is the time that passes."""
        return None

    def end(self) -> None:
        """Nothing is begun."""
