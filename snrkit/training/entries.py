"""The runs of a sweep and how each stands, by their small files: nothing is changed by looking."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snrkit.backend.shortage import exit_code_of
from snrkit.data import SOURCES
from snrkit.errors import BUG, NO_ROOM, ResultsError, SnrkitError
from snrkit.estimators.hyper import Hyper
from snrkit.files import read_json
from snrkit.models import MODELS
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import holder
from snrkit.specs.base import read_toml
from snrkit.specs.grid import run_name
from snrkit.specs.run import RunSpec
from snrkit.specs.shard import Shard
from snrkit.training.ensemble import ensemble_key
from snrkit.training.trainer import Trainer

# States in which there is nothing to train, or not now.
ENDED = ("done", "failed", "held")


@dataclass
class Entry:
    """One run of a sweep and how it stands.

    Attributes:
        spec: as given.
        run: its directory.
        state: waiting, running, interrupted, done, failed, or held: another process is at work on it.
        why: the reason of a failure, or who holds it.
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

    def hold(self, why: str) -> None:
        """Note that another process is at work on it."""
        self.state, self.why, self.code = "held", why, NO_ROOM

    def follow(self, trainer: Trainer) -> None:
        """Take over how far its trainer is."""
        self.epoch = trainer.epoch + trainer.position / trainer.steps
        running = trainer.state.running
        if running["points"]:
            self.bound = running["bound"] / running["points"]

    def look(self, retry: bool) -> None:
        """See how the run stands by its small files; what cannot be read is a failure of this run alone.

        Args:
            retry: a run that failed is to be gone on with.
        """
        self.state, self.why, self.code = "waiting", "", 0
        try:
            self._read(retry)
        except (SnrkitError, OSError) as error:
            self.fail(str(error), exit_code_of(error))

    def _read(self, retry: bool) -> None:
        run = self.run
        state, rows = run.state(), run.read_metrics()
        if rows:
            self.epoch, self.bound = rows[-1]["epoch"], rows[-1].get("bound")
        if state == "failed" and not retry:
            self.fail(*_failure(run))
        elif state == "done" and RunSpec.parse(read_toml(run.config), str(run.config)).epochs == self.spec.epochs:
            self.state = "done"
        elif run.checkpoint.exists():
            self.state = "interrupted"

    def probe(self) -> None:
        """See whether another process is at work on it."""
        owner = None if self.state in ENDED else holder(self.run.path)
        if owner is not None:
            self.hold(owner)


@dataclass
class Crew:
    """Runs that train side by side.

    Attributes:
        entries: the runs.
        folder: of their directories.
    """

    entries: list[Entry]
    folder: Path = field(repr=False)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    @property
    def work(self) -> int:
        """What it takes in epochs times samples, of all its runs."""
        return sum(one.spec.epochs * one.spec.estimator.M * one.spec.estimator.K for one in self.entries)

    @property
    def name(self) -> str:
        """Of the files by which the crew is kept together; one for each list of runs."""
        names = "\n".join(entry.run.path.name for entry in self.entries)
        return f"sweep-{hashlib.sha256(names.encode()).hexdigest()[:12]}"

    @property
    def marker(self) -> Path:
        """The file that makes checkpoints which were saved together count (see ``runs.commit``)."""
        return self.folder / f"{self.name}.commit"


def claim(marker: Path) -> Path:
    """The folder whose lock says that a process is at work on the crew of a marker."""
    return marker.with_name(f".{marker.stem}")


def require_known(specs: Sequence[RunSpec]) -> None:
    """See to it that data, models and estimators are there, and options are theirs.

    Raises:
        SpecError: they are not.
    """
    for spec in specs:
        SOURCES.load(spec.data.name)
        MODELS.load(spec.model.name)
        Hyper(spec)


def crews(specs: Sequence[RunSpec], out: Path, size: int, shard: Shard = Shard()) -> list[Crew]:  # noqa: B008 (frozen)
    """Which runs stand side by side: a function of the whole list, so that it is the same after every stop.

    Whole crews are dealt out to the processes of an array, those with the most work first, so that what a run comes to does
    not depend on how many processes there are.

    Args:
        specs: all runs, no two the same.
        out: folder of their directories.
        size: most runs of a crew.
        shard: whose crews are wanted.
    """
    alike: dict[str, list[Entry]] = {}
    for spec in specs:
        alike.setdefault(ensemble_key(spec), []).append(Entry(spec, RunDir(out / run_name(spec))))
    found = [Crew(each[i : i + size], out) for each in alike.values() for i in range(0, len(each), size)]
    if shard.is_whole:
        return found
    place = {id(crew): number for number, crew in enumerate(found)}
    dealt = shard.taken(sorted(found, key=lambda crew: -crew.work))
    return sorted(dealt, key=lambda crew: place[id(crew)])


def _failure(run: RunDir) -> tuple[str, int]:
    """Why a run failed, and the exit code of that, as recorded."""
    try:
        status = read_json(run.status)
        return str(status["why"]), int(status.get("code", BUG))
    except (ResultsError, AttributeError, KeyError, TypeError, ValueError):
        return "", BUG
