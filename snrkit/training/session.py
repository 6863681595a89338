"""A run's life in this process: opened, trained, closed. A sweep is many of them."""

import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from snrkit.backend.kernels import using
from snrkit.backend.memory import keep_freed_memory
from snrkit.backend.shortage import exit_code_of, is_shortage, shortage
from snrkit.data import load
from snrkit.data.base import Dataset
from snrkit.errors import OutputError, SnrkitError
from snrkit.files import write_text
from snrkit.interrupt import Interrupted, stop_requests
from snrkit.runs.checkpoint import Checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in
from snrkit.specs.run import RunSpec
from snrkit.training.loop import Stopped, nothing, run_epochs
from snrkit.training.opening import begin, discard, find_previous, is_finished, resolve_spec, settle
from snrkit.training.trainer import Trainer
from snrkit.types import Progress


class Outcome(NamedTuple):
    """How a session ended.

    Attributes:
        state: done, interrupted or failed.
        why: the reason, if it is not done.
        code: the exit code of a failure (see ``snrkit.errors``); 0 where nothing failed.
    """

    state: str
    why: str = ""
    code: int = 0


@dataclass
class Session:
    """A run that has something left to train.

    Attributes:
        run: its directory.
        trainer: the run, ready.
        is_new: nothing of it had been trained before.
    """

    run: RunDir
    trainer: Trainer
    is_new: bool

    @classmethod
    def open(
        cls, spec: RunSpec, dataset: Dataset, run: RunDir, device: torch.device, *, resume: bool
    ) -> "Session | Checkpoint":
        """A session, or the final checkpoint of a run that is finished. What is unfinished is not changed.

        Args:
            spec: what to train.
            dataset: its data.
            run: its directory, in which no other process is at work.
            device: where to compute.
            resume: go on from the run's checkpoint if there is one.

        Raises:
            SnrkitError: as ``find_previous``, ``resolve_spec`` and ``Trainer`` raise.
        """
        spec = resolve_spec(spec, dataset)
        previous = find_previous(run, spec, dataset, resume)
        if previous is not None and is_finished(previous, spec):
            settle(run, spec)
            return previous
        return cls(run, Trainer(spec, dataset, run, device, previous), previous is None)

    def begin(self) -> None:
        """Record that the run is running, and with what.

        Raises:
            ResultsError: its metrics are damaged; nothing has been changed.
            OutputError: the directory cannot be written.
        """
        self.run.discard_partial()
        self.run.error.unlink(missing_ok=True)
        begin(self.run, self.trainer.spec, self.trainer.device, self.trainer.epoch)

    def close(self, error: BaseException | None = None) -> Outcome:
        """Record how it ended: done, or with an error. One of the program also leaves its traceback in the directory."""
        if error is None:
            outcome = Outcome("done")
        elif isinstance(error, Interrupted | KeyboardInterrupt):
            outcome = Outcome("interrupted", "told to stop")
        else:
            outcome = Outcome("failed", reason(error, self.run), exit_code_of(error))
        # On a full disk the status fails as well: what came first is what the user should read, and what is done is done.
        with suppress(OutputError):
            self.run.set_status(*outcome)
        return outcome


def reason(error: BaseException, run: RunDir) -> str:
    """What to tell of an error. One of the program also leaves its traceback in the run's directory."""
    told = error if isinstance(error, SnrkitError) else shortage(error)
    if told is not None:
        return str(told)
    said = f"{error.__class__.__name__}: {error}"
    try:
        write_text(run.error, "".join(traceback.format_exception(error)))
    except OutputError:
        return said
    return f"{said} (traceback in error.txt)"


def train(
    spec: RunSpec,
    run: RunDir,
    *,
    data_dir: Path | None,
    device: torch.device,
    resume: bool,
    progress: Progress,
    observe: Callable[[Trainer, Stopped], None] = nothing,
) -> Checkpoint:
    """Train a run to the end, from the beginning or from its checkpoint. A finished run is left as it is.

    Args:
        spec: what to train. A resumed run may differ from its first spec in ``specs.run.EXTENSIBLE`` only.
        run: where results go.
        data_dir: folder of the data files; None: SNRKIT_DATA or the cache.
        device: where to compute.
        resume: go on from the run's checkpoint if there is one.
        progress: called with (done, total, note).
        observe: see ``run_epochs``; it must leave the trainer as it is.

    Returns:
        The final checkpoint.

    Raises:
        OutputError: the run directory holds a run and ``resume`` is off, or cannot be written.
        SpecError, DataError, CheckpointError, CapabilityError: bad input; nothing has been changed.
        NonFiniteError: the bound became NaN or infinite; the last checkpoint is kept.
        ResourceError: memory ran out, as for a bound that is NaN; or another process is at work there, and nothing has been
            changed.
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    keep_freed_memory()
    dataset = load(spec.data, data_dir)
    with alone_in(run.path):
        session = Session.open(spec, dataset, run, device, resume=resume)
        if isinstance(session, Checkpoint):
            return session
        try:
            with stop_requests() as stopped:
                session.begin()
                with using(session.trainer.state.kernels):  # what observes it too
                    run_epochs(session.trainer, stopped, progress, observe)
                session.close()
        except BaseException as error:
            if session.is_new and session.trainer.step == 0 and is_shortage(error):
                discard(run)
            else:
                session.close(error)
            raise
        return session.trainer.state.checkpoint()
