"""Many runs, one after the other or side by side, each in a directory named by what it is.

Which runs stand side by side is a function of the list of runs, not of how far they are, and runs side by side are saved
together or not at all. So a sweep that was killed goes on to the same bits as one that was not.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from snrkit.backend.shortage import exit_code_of
from snrkit.data import SOURCES, load
from snrkit.data.base import Dataset
from snrkit.errors import BUG, CapabilityError, NonFiniteError, ResultsError, SnrkitError
from snrkit.estimators.hyper import Hyper
from snrkit.files import discard_partial, read_json
from snrkit.models import MODELS
from snrkit.runs.checkpoint import Checkpoint
from snrkit.runs.commit import STAGED, recover
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in
from snrkit.specs.base import read_toml
from snrkit.specs.grid import run_name
from snrkit.specs.run import RunSpec
from snrkit.training.ensemble import Ensemble, ensemble_key
from snrkit.training.loop import Stopped, nothing, run_epochs
from snrkit.training.session import Session, reason
from snrkit.training.trainer import Trainer

# Runs side by side by default. A GPU has room for many small models at once. On two CPU cores the papers' model gains
# nothing (analyses/speed/ensemble.py); only tiny ones do.
SIDE_BY_SIDE = {"cpu": 1, "cuda": 20}
_COMMIT = "sweep.commit"


@dataclass
class Entry:
    """One run of a sweep and how it stands.

    Attributes:
        spec: as given.
        run: its directory.
        state: waiting, running, interrupted, done or failed.
        why: the reason of a failure.
        code: the exit code of a failure (see ``snrkit.errors``); 0 where nothing failed.
        epoch: epochs done, the begun one as a fraction.
        bound: mean over the last epoch, or over the begun one, nats; None before the first step.
    """

    spec: RunSpec
    run: RunDir
    state: str = "waiting"
    why: str = ""
    epoch: float = 0.0
    bound: float | None = None
    code: int = 0

    def fail(self, why: str, code: int) -> None:
        """Note that it failed."""
        self.state, self.why, self.code = "failed", why, code

    def follow(self, trainer: Trainer) -> None:
        """Take over how far its trainer is."""
        self.epoch = trainer.epoch + trainer.position / trainer.steps
        running = trainer.state.running
        if running["points"]:
            self.bound = running["bound"] / running["points"]


class Sweep:
    """A list of runs to be trained to the end.

    Args:
        specs: the runs, no two the same.
        out: folder of their directories; what was left there half written is put in order.
        data_dir: folder of the data files; None: SNRKIT_DATA or the cache.
        device: where to compute.
        side_by_side: at most so many runs train together.
        retry: also go on with runs that failed.
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
        observe: Callable[[Trainer, Stopped], None] = nothing,
    ) -> None:
        for spec in specs:
            SOURCES.load(spec.data.name)
            MODELS.load(spec.model.name)
            Hyper(spec)
        self.entries = [Entry(spec, RunDir(out / run_name(spec))) for spec in specs]
        self._marker = out / _COMMIT
        self._data_dir, self._device, self._side_by_side = data_dir, device, side_by_side
        self._observe, self._data = observe, dict[str, Dataset]()
        discard_partial(self._marker)
        if self._marker.exists():
            recover(self._marker, {entry.run.path.name for entry in self.entries})
        for entry in self.entries:
            try:
                _look(entry, retry)
            except (SnrkitError, OSError) as error:
                entry.fail(str(error), exit_code_of(error))

    def run(self, stopped: Callable[[], bool], watch: Callable[[], None]) -> None:
        """Train what is not finished. A run that fails is noted in its entry, and the others go on.

        Args:
            stopped: asked after every step whether to stop; the state is saved then.
            watch: called after every step.
        """
        for crew in self._crews():
            if stopped():
                return
            with ExitStack() as locks:
                for entry in crew:
                    _lock(entry, locks)
                self._train_crew(crew, stopped, watch)

    def _train_crew(self, crew: Sequence[Entry], stopped: Callable[[], bool], watch: Callable[[], None]) -> None:
        opened = self._opened(crew)
        for step in dict.fromkeys(session.trainer.step for _, session in opened):
            group = [pair for pair in opened if pair[1].trainer.step == step]
            if not self._train(group, stopped, watch):
                for entry, _ in group:
                    # From what is saved, as if it had never stood beside others.
                    for pair in self._opened([entry]):
                        self._train([pair], stopped, watch)

    def _crews(self) -> list[list[Entry]]:
        """Runs that stand side by side: a function of the whole list, so that it is the same after every stop."""
        alike: dict[str, list[Entry]] = {}
        for entry in self.entries:
            alike.setdefault(ensemble_key(entry.spec), []).append(entry)
        size = self._side_by_side
        return [entries[i : i + size] for entries in alike.values() for i in range(0, len(entries), size)]

    def _opened(self, entries: Sequence[Entry]) -> list[tuple[Entry, Session]]:
        return [(entry, session) for entry in entries if (session := self._open(entry)) is not None]

    def _open(self, entry: Entry) -> Session | None:
        """A session where there is something to train."""
        if entry.state in ("done", "failed"):
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
        self, group: Sequence[tuple[Entry, Session]], stopped: Callable[[], bool], watch: Callable[[], None]
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
                ensemble = Ensemble(trainers, self._marker)
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


def _lock(entry: Entry, locks: ExitStack) -> None:
    """Keep other processes out of the directory of a run that is to be trained, until ``locks`` is closed."""
    if entry.state not in ("done", "failed"):
        try:
            locks.enter_context(alone_in(entry.run.path))
        except SnrkitError as error:
            entry.fail(str(error), error.exit_code)


def _look(entry: Entry, retry: bool) -> None:
    """See how a run stands by its small files."""
    run = entry.run
    staged = run.path / STAGED
    staged.unlink(missing_ok=True)
    discard_partial(staged)
    state = run.state()
    rows = run.read_metrics()
    if rows:
        entry.epoch, entry.bound = rows[-1]["epoch"], rows[-1].get("bound")
    if state == "failed" and not retry:
        entry.fail(*_failure(run))
    elif state == "done" and RunSpec.parse(read_toml(run.config), str(run.config)).epochs == entry.spec.epochs:
        entry.state = "done"
    elif run.checkpoint.exists():
        entry.state = "interrupted"


def _failure(run: RunDir) -> tuple[str, int]:
    """Why a run failed, and the exit code of that, as recorded."""
    try:
        status = read_json(run.status)
        return str(status["why"]), int(status.get("code", BUG))
    except (ResultsError, AttributeError, KeyError, TypeError, ValueError):
        return "", BUG
