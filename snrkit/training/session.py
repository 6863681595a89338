"""A run's life in this process: opened, trained, closed. A sweep is many of them."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from snrkit.backend.kernels import using
from snrkit.backend.memory import keep_freed_memory
from snrkit.backend.shortage import exit_code_of, is_shortage
from snrkit.data import load
from snrkit.errors import OutputError
from snrkit.interrupt import Interrupted, stop_requests
from snrkit.runs.checkpoint import Checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in
from snrkit.specs.run import RunSpec
from snrkit.training.loop import Progress, Stopped, run_epochs
from snrkit.training.opening import begin, discard, find_previous, is_finished, resolve_spec, settle
from snrkit.training.trainer import Trainer


def train(
    spec: RunSpec,
    run: RunDir,
    *,
    data_dir: Path | None,
    device: torch.device,
    resume: bool,
    progress: Progress,
    observe: Callable[[Trainer, Stopped], None] = lambda *_: None,
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
    spec = resolve_spec(spec, dataset)
    with alone_in(run.path):
        previous = find_previous(run, spec, dataset, resume)
        if previous is not None and is_finished(previous, spec):
            settle(run, spec)
            return previous
        trainer = Trainer(spec, dataset, run, device, previous)
        _train(trainer, progress, observe)
    return trainer.state.checkpoint()


def _train(trainer: Trainer, progress: Progress, observe: Callable[[Trainer, Stopped], None]) -> None:
    """Train to the end, and record in the run's directory how it goes."""
    run = trainer.run_dir
    is_new = not run.checkpoint.exists()
    try:
        with stop_requests() as stopped:
            begin(run, trainer.spec, trainer.device, trainer.epoch)
            with using(trainer.state.kernels):  # what observes it too
                run_epochs(trainer, stopped, progress, observe)
            run.set_status("done")
    except (Interrupted, KeyboardInterrupt):
        run.set_status("interrupted", "signal")
        raise
    except BaseException as error:
        if is_new and trainer.step == 0 and is_shortage(error):
            discard(run)
            raise
        # On a full disk the status fails as well; what came first is what the user should read.
        with suppress(OutputError):
            run.set_status("failed", str(error) or error.__class__.__name__, exit_code_of(error))
        raise
