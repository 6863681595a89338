"""Many runs, one after the other or side by side, each in a directory named by what it is.

Which runs stand side by side is a function of the list of runs, not of how far they are, and runs side by side are saved
together or not at all. So a sweep that was killed goes on to the same bits as one that was not. Several processes may sweep
one folder: each run, and each group of runs side by side, is one process's at a time.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import torch

from snrkit.backend.shortage import exit_code_of
from snrkit.data import load
from snrkit.data.base import Dataset
from snrkit.errors import CapabilityError, NonFiniteError, ResourceError, SnrkitError
from snrkit.files import discard_partial
from snrkit.runs.checkpoint import Checkpoint
from snrkit.runs.commit import STAGED, recover
from snrkit.runs.lock import alone_in
from snrkit.specs.grid import run_name
from snrkit.specs.run import RunSpec
from snrkit.specs.shard import Shard
from snrkit.training.ensemble import Ensemble
from snrkit.training.entries import ENDED, Crew, Entry, claim, crews, require_known
from snrkit.training.loop import Stopped, nothing, run_epochs
from snrkit.training.session import Session, reason
from snrkit.training.trainer import Trainer

# Runs side by side by default. A GPU has room for many small models at once. On two CPU cores the papers' model gains
# nothing (analyses/speed/ensemble.py); only tiny ones do.
SIDE_BY_SIDE = {"cpu": 1, "cuda": 20}
# Of versions that let one process alone sweep a folder.
_EARLIER = "sweep.commit"


class Sweep:
    """A list of runs to be trained to the end.

    Args:
        specs: the runs, no two the same.
        out: folder of their directories; what was left there half written, by processes that are gone, is put in order.
        data_dir: folder of the data files; None: SNRKIT_DATA or the cache.
        device: where to compute.
        side_by_side: at most so many runs train together.
        retry: also go on with runs that failed.
        shard: which of the runs side by side are this process's.
        observe: called with each run at the end of its epochs (see ``run_epochs``).

    Raises:
        SpecError: data, a model or an estimator that does not exist, or an option that the estimator has not.
        OutputError, ResultsError: the folder cannot be written, or the record of a save that was cut short is damaged.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        out: Path,
        *,
        data_dir: Path | None,
        device: torch.device,
        side_by_side: int,
        retry: bool,
        shard: Shard = Shard(),  # noqa: B008 (frozen)
        observe: Callable[[Trainer, Stopped], None] = nothing,
    ) -> None:
        require_known(specs)
        self._crews = crews(specs, out, side_by_side, shard)
        self.crews = len(self._crews)
        self._data_dir, self._device, self._retry = data_dir, device, retry
        self._observe, self._data = observe, dict[str, Dataset]()
        _recover(out, [run_name(spec) for spec in specs], [crew.marker for crew in self._crews])
        for entry in self.entries:
            discard_partial(entry.run.path / STAGED)
            entry.look(retry)

    @property
    def entries(self) -> list[Entry]:
        """The runs of this process, in order."""
        return [entry for crew in self._crews for entry in crew]

    def run(self, stopped: Callable[[], bool], watch: Callable[[], None]) -> None:
        """Train what is not finished. A run that fails is noted in its entry, and the others go on.

        Args:
            stopped: asked after every step whether to stop; the state is saved then.
            watch: called after every step.
        """
        for crew in self._crews:
            self._visit(crew, stopped, watch)
        # What others held may be free by now.
        for crew in [crew for crew in self._crews if any(entry.state == "held" for entry in crew)]:
            self._visit(crew, stopped, watch)

    def _visit(self, crew: Crew, stopped: Callable[[], bool], watch: Callable[[], None]) -> None:
        if stopped() or all(entry.state in ("done", "failed") for entry in crew):
            return
        with ExitStack() as locks:
            if self._claim(crew, locks):
                self._train_crew(crew, stopped, watch)

    def _claim(self, crew: Crew, locks: ExitStack) -> bool:
        """Keep other processes out of the directories of runs that are to be trained, until ``locks`` is closed.

        False where another process has the crew.
        """
        try:
            if len(crew.entries) > 1:
                locks.enter_context(alone_in(claim(crew.marker)))
        except ResourceError as error:
            for entry in crew:
                _left(entry, str(error), self._retry)
            return False
        for entry in crew:
            if entry.state not in ("done", "failed"):
                _lock(entry, locks, self._retry)
        return True

    def _train_crew(self, crew: Crew, stopped: Callable[[], bool], watch: Callable[[], None]) -> None:
        opened = self._opened(crew.entries)
        for step in dict.fromkeys(session.trainer.step for _, session in opened):
            group = [pair for pair in opened if pair[1].trainer.step == step]
            if not self._train(group, crew.marker, stopped, watch):
                for entry, _ in group:
                    # From what is saved, as if it had never stood beside others.
                    for pair in self._opened([entry]):
                        self._train([pair], crew.marker, stopped, watch)

    def _opened(self, entries: Sequence[Entry]) -> list[tuple[Entry, Session]]:
        return [(entry, session) for entry in entries if (session := self._open(entry)) is not None]

    def _open(self, entry: Entry) -> Session | None:
        """A session where there is something to train."""
        if entry.state in ENDED:
            return None
        try:
            session = Session.open(entry.spec, self._dataset(entry.spec), entry.run, self._device, resume=True)
        except Exception as error:
            # The run itself was not changed, so its status stays.
            entry.fail(reason(error, entry.run), exit_code_of(error))
            return None
        if isinstance(session, Checkpoint):
            entry.state, entry.epoch = "done", session.epoch
            return None
        entry.follow(session.trainer)
        return session

    def _dataset(self, spec: RunSpec) -> Dataset:
        key = spec.data.digest()
        if key not in self._data:
            self._data[key] = load(spec.data, self._data_dir)
        return self._data[key]

    def _train(
        self,
        group: Sequence[tuple[Entry, Session]],
        marker: Path,
        stopped: Callable[[], bool],
        watch: Callable[[], None],
    ) -> bool:
        """Train runs that stand at the same step, and note how each ended; False where they cannot stand side by side."""
        trainers = [session.trainer for _, session in group]
        failed: dict[str, str] = {}
        for entry, _ in group:
            entry.state = "running"

        def follow(*_: object) -> None:
            for entry, session in group:
                entry.follow(session.trainer)
                if entry.run.name in failed:
                    entry.fail(failed[entry.run.name], NonFiniteError.exit_code)
            watch()

        error: Exception | None = None
        try:
            for _, session in group:
                session.begin()
            if len(group) == 1:
                run_epochs(trainers[0], stopped, follow, self._observe)
            else:
                ensemble = Ensemble(trainers, marker)
                failed = ensemble.failed
                run_epochs(ensemble, stopped, follow, lambda crew, stopped: crew.observe(self._observe, stopped))
        except KeyboardInterrupt as second:  # a second signal, which does not wait for the step to end
            for _, session in group:
                session.close(second)
            raise
        except Exception as found:
            error = found
        follow()
        if isinstance(error, CapabilityError) and len(group) > 1:
            return False
        for entry, session in group:
            if entry.state != "failed":
                entry.state, entry.why, entry.code = session.close(error)
        return True


def surveyed(specs: Sequence[RunSpec], out: Path, side_by_side: int, shard: Shard, retry: bool) -> list[Entry]:
    """How a sweep stands before anything of it is trained; nothing is made or changed. Arguments are those of ``Sweep``.

    Raises:
        SpecError: as for ``Sweep``.
    """
    require_known(specs)
    entries = [entry for crew in crews(specs, out, side_by_side, shard) for entry in crew]
    for entry in entries:
        entry.look(retry)
        entry.probe()
    return entries


def _recover(out: Path, own: Sequence[str], markers: Sequence[Path]) -> None:
    """Finish saves that were cut short in a folder, but for those of processes that are still at work.

    Raises:
        OutputError: a file cannot be written.
        ResultsError: a record of a save is damaged, or names other runs than our own.
    """
    for marker in (out / _EARLIER, *markers):
        discard_partial(marker)
    for marker in sorted(out.glob("sweep*.commit")):
        with suppress(ResourceError), alone_in(claim(marker)):
            if marker.exists():
                recover(marker, set(own))


def _lock(entry: Entry, locks: ExitStack, retry: bool) -> None:
    """Keep other processes out of a run's directory, and see how it stands by now."""
    try:
        locks.enter_context(alone_in(entry.run.path))
        (entry.run.path / STAGED).unlink(missing_ok=True)
    except ResourceError as error:
        _left(entry, str(error), retry)
    except (SnrkitError, OSError) as error:
        entry.fail(str(error), exit_code_of(error))
    else:
        entry.look(retry)


def _left(entry: Entry, why: str, retry: bool) -> None:
    """Leave a run to the process that is at work on it, if that has not ended it."""
    entry.look(retry)
    if entry.state not in ("done", "failed"):
        entry.hold(why)
