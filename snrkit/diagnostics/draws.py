"""Have the draws of a plan made, block by block, and keep what is finished."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from snrkit.backend.memory import in_words, require_memory
from snrkit.diagnostics.arrays.place import place_of
from snrkit.diagnostics.engines.factors import FactorEngine
from snrkit.diagnostics.makers import Alone, Maker, Tallied
from snrkit.diagnostics.moments import BlockMoments, DeviceBlock, Moments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.problem import Problem
from snrkit.diagnostics.projecting import Onto, Projected
from snrkit.diagnostics.store import Store
from snrkit.diagnostics.worker import Worker
from snrkit.interrupt import Interrupted
from snrkit.types import Progress

MINIMUM_BLOCKS = 2
NOTHING_TALLIED: Mapping[Job, Tallied] = MappingProxyType({})
# Bytes of moments from which on a remark says how many they are.
_WORTH_SAYING = 10**9
# Seconds of one job, and the share of them that direct draws would take, at which a remark recommends those.
_LONG, _MUCH = 10.0, 0.4
# Means and variances of single data points, one for each coordinate and block of draws, at which a remark says so: minutes.
_MANY_ACCOUNTS = 10**10


class Drawer:
    """Has jobs drawn.

    Args:
        worker: knows what is drawn.
        store: finished blocks.
        progress: called with (done, total, note); units are importance samples.
        stop: asked before every block; True ends the draws.
        maker: makes the draws; None: the worker does.

    Attributes:
        maker: the same.
        remarks: what is worth knowing of the draws made so far, in sentences.
    """

    def __init__(
        self,
        worker: Worker,
        store: Store,
        progress: Progress | None,
        stop: Callable[[], bool],
        maker: Maker | None = None,
    ) -> None:
        self.worker, self.stopped = worker, stop
        self.maker = maker or Alone(worker)
        self.remarks: list[str] = []
        self._store, self._progress = store, progress
        self._done = self._total = 0

    def expect(
        self, jobs: Sequence[Job], again: Sequence[Job] = (), tallied: Mapping[Job, Tallied] = NOTHING_TALLIED
    ) -> None:
        """Announce what is to be drawn.

        Args:
            jobs: in the order in which they will be asked for.
            again: those of which a second pass is made.
            tallied: those whose log-weights are looked at, and how.
        """
        self._total = sum(job.samples for job in (*jobs, *again))
        self.maker.expect(jobs, tallied, self._store.has, self._keep)

    @contextmanager
    def made(self) -> Iterator[None]:
        """A block in which draws are asked for; what was announced and is not asked for within it is given up."""
        try:
            yield
        finally:
            self.maker.end()

    def _keep(self, job: Job, draws: range, block: BlockMoments | DeviceBlock | bytes | None) -> None:
        self._store.save(job, draws, block)
        self.advance(job, len(draws))

    def moments(self, job: Job) -> Moments:
        """The moments of a job.

        Raises:
            NonFiniteError: a gradient is NaN or infinite.
            Interrupted: asked to stop with fewer than two blocks finished.
        """
        problem, _ = self.worker.opened(job)
        place = place_of(problem.device, problem.layout.size, len(job.blocks()))
        if place is None:
            self._require_room(problem, job)
        self._hint(problem, job)
        blocks: list[BlockMoments | DeviceBlock] = []
        for draws in job.blocks():
            block: BlockMoments | DeviceBlock | None = self._store.load(job, draws)
            if block is not None:
                self.advance(job, len(draws))
            elif self.stopped():
                break
            else:
                try:
                    block = self.maker.block(job, draws)
                except Interrupted:
                    break
            blocks.append(block if place is not None else block.host())
        if len(blocks) < MINIMUM_BLOCKS:
            raise Interrupted
        return Moments(blocks, self.maker.rounding(job), place)

    def projected(self, job: Job, onto: Onto) -> Iterator[Projected]:
        """The draws of a job again, block by block, projected.

        Raises:
            Interrupted: asked to stop.
        """
        self.maker.expect_projected(job, onto)
        for number, draws in enumerate(job.blocks()):
            if self.stopped():
                raise Interrupted
            yield self.maker.projected(job, number, draws, onto)
            self.advance(job, len(draws))

    def _hint(self, problem: Problem, job: Job) -> None:
        """Say so where drawing the minibatch as a whole would be much faster."""
        engine = self.worker.engine
        if job.direct or problem.groups == 1 or problem.seeded is not None or not isinstance(engine, FactorEngine):
            return
        if problem.groups * len(job.blocks()) * problem.layout.size > _MANY_ACCOUNTS:
            remark = (
                f"units keep accounts of {problem.groups:,} data points of {problem.layout.size:,} coordinates, which is "
                "most of the time; fewer points take less, and the minibatch as a whole (`direct=True`) keeps none"
            )
            if remark not in self.remarks:
                self.remarks.append(remark)
        units, direct = engine.prices(problem, job.estimator)
        if units * job.draws > _LONG and direct < _MUCH * units:
            remark = (
                f"K={job.K}: drawing the minibatch as a whole (`direct=True`) is predicted to take "
                f"{direct / units:.2g} of the time, for one M"
            )
            if not any(said.startswith(f"K={job.K}: drawing") for said in self.remarks):
                self.remarks.append(remark)

    def _require_room(self, problem: Problem, job: Job) -> None:
        """What the blocks of a job take is known before any draw.

        Raises:
            ResourceError: it is more than this machine has.
        """
        count = len(job.blocks())
        # Means and variances of the blocks, again as offsets and sums of squares, and a gradient's own moments.
        size = 8 * problem.layout.size * (4 * count + 6)
        asked = f"{count} blocks of the moments of {problem.layout.size:,} coordinates"
        remedy = "measure fewer parameters (freeze the others), or fewer than 40 draws, which fall into fewer blocks"
        require_memory("draws", asked, size, remedy)
        remark = f"{asked} take {in_words(size)} of memory"
        if size > _WORTH_SAYING and remark not in self.remarks:
            self.remarks.append(remark)

    def advance(self, job: Job, draws: int) -> None:
        """Report that so many draws of a job are done."""
        self._done += draws * job.M * job.K
        if self._progress is not None:
            self._progress(self._done, self._total, f"{job.estimator.name} K={job.K}")
