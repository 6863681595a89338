"""A sweep whose runs are trained by workers, in a folder that all of them see: who trains what is as without them.

A worker trains what stands side by side, as a process of a job array would, under the same locks. One that is lost loses
nothing that is saved: what it trained goes on elsewhere from there, to the same bits.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from snrkit.backend.device import select_device
from snrkit.backend.kernels import chosen
from snrkit.backend.machine import threads as on_threads
from snrkit.errors import OutputError, SnrkitError
from snrkit.files import discard_partial, write_text
from snrkit.fleet.dispatch import Task
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.interrupt import Interrupted
from snrkit.models.own import lending_all
from snrkit.specs.measure import WatchFile
from snrkit.specs.run import RunSpec
from snrkit.specs.shard import Shard
from snrkit.training.entries import Entry
from snrkit.training.sweep import Sweep
from snrkit.watch import watching

_STATES = ("waiting", "running", "interrupted", "done", "failed", "held")
# Seconds between two looks at how runs stand, and at whether a worker is to stop.
_LOOK = 1.0
# Seconds that workers have to save what they are at.
_GRACE = 30.0


@dataclass(frozen=True)
class Asked:
    """A sweep, as it travels.

    Attributes:
        specs: its runs.
        folder: of their directories, which every worker sees under this path.
        data_dir: folder of the data files.
        device: where to compute.
        side_by_side: at most so many runs train together.
        retry: also go on with runs that failed.
        model: ``--model`` of the sweep.
        measure: what is measured as it goes on.
    """

    specs: Sequence[RunSpec]
    folder: Path
    data_dir: Path | None
    device: str
    side_by_side: int
    retry: bool
    model: str | None
    measure: WatchFile | None

    def sweep(self, shard: Shard = Shard()) -> Sweep:  # noqa: B008 (frozen)
        """As this process would go about it.

        Raises:
            SnrkitError: as for ``Sweep``.
        """
        return Sweep(
            self.specs, self.folder,
            data_dir=self.data_dir, device=select_device(self.device), side_by_side=self.side_by_side, retry=self.retry,
            shard=shard, observe=watching(self.measure),
        )  # fmt: skip


def crew(asked: Asked, number: int, of: int, stop: Path) -> bytes:
    """The side of workers: train one crew of so many, until it is done or there is a file ``stop``."""
    last, told = 0.0, False

    def stopped() -> bool:
        nonlocal last, told
        if time.monotonic() - last > _LOOK:
            last, told = time.monotonic(), stop.exists()
        return told

    with lending_all([spec.model for spec in asked.specs], asked.model):
        sweep = asked.sweep(Shard(number, of))
        sweep.run(stopped, lambda: None)
    states = {e.run.name: [e.state, e.why, e.code, e.epoch, e.bound] for e in sweep.entries}
    return json.dumps(states).encode()


def sweep_elsewhere(
    sweep: Sweep,
    asked: Asked,
    elsewhere: Elsewhere,
    threads: int | None,
    stopped: Callable[[], bool],
    watch: Callable[[], None],
) -> None:
    """Have the runs of a sweep trained; how each ended is noted in its entry.

    Args:
        sweep: how it stands.
        asked: the same, as it travels.
        elsewhere: the workers.
        threads: of each; None: 1.
        stopped: asked every moment; True has the workers save and stop.
        watch: called every moment, with entries as they stand.

    Raises:
        SnrkitError: workers cannot be used, or are lost again and again.
        OutputError: the folder cannot be written.
    """
    entries, token = {entry.run.name: entry for entry in sweep.entries}, f".stop-{time.time_ns()}"
    stop, count, last, until = asked.folder / token, sweep.crews, 0.0, float("inf")

    def ended() -> bool:
        nonlocal last, until
        if time.monotonic() - last > _LOOK:
            last = time.monotonic()
            _look(sweep.entries)
            watch()
        if stopped() and until == float("inf"):
            until = time.monotonic() + _GRACE
            write_text(stop, "")
        return time.monotonic() > until

    tasks = {
        number: Task(f"{__name__}:crew", (asked, number, count, stop), (), _read) for number in range(1, count + 1)
    }
    try:
        with on_threads(threads or 1):
            library = chosen(torch.float32, select_device(asked.device))
            with elsewhere.dispatch(library, ended) as dispatch:
                dispatch.expect(tasks.items())
                for number, task in tasks.items():
                    with suppress(Interrupted):
                        _note(entries, dispatch.result(number, task))
    finally:
        with suppress(OSError, OutputError):
            stop.unlink(missing_ok=True)
            discard_partial(stop)
    watch()


def _look(entries: Sequence[Entry]) -> None:
    """See how runs stand that are not ended, by the files that workers write."""
    for entry in entries:
        if entry.state in ("done", "failed"):
            continue
        with suppress(SnrkitError, OSError):
            state, rows = entry.run.state(), entry.run.read_metrics()
            entry.state = state if state in _STATES and state != "failed" else entry.state
            if rows:
                entry.epoch, entry.bound = rows[-1]["epoch"], rows[-1].get("bound")


def _note(entries: dict[str, Entry], found: dict[str, list[Any]]) -> None:
    for name, (state, why, code, epoch, bound) in found.items():
        entry = entries[name]
        entry.state, entry.why, entry.code, entry.epoch, entry.bound = state, why, code, epoch, bound


def _read(content: bytes) -> dict[str, list[Any]] | None:
    """What ``crew`` gave; None where it is something else."""
    with suppress(ValueError):
        found = json.loads(content)
        if isinstance(found, dict) and all(len(row) == 5 and row[0] in _STATES for row in found.values()):
            return found
    return None
