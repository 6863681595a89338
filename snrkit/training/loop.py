"""The training loop. Every random number is a function of (seed, step), so a resumed run is bit-identical."""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeVar

import torch
from torch import Tensor

from snrkit.backend.memory import keep_freed_memory, within_memory
from snrkit.backend.shortage import exit_code_of, is_shortage
from snrkit.core.streams import Streams
from snrkit.data import load
from snrkit.data.base import Dataset
from snrkit.data.binarise import Batches, test_points
from snrkit.errors import NonFiniteError, OutputError
from snrkit.estimators.base import option_values
from snrkit.estimators.hyper import Context, Hyper
from snrkit.estimators.passes import Passes, memory_for_step
from snrkit.interrupt import Interrupted, stop_requests
from snrkit.models.base import build_model
from snrkit.runs.checkpoint import Checkpoint, save_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.runs.lock import alone_in
from snrkit.specs.run import RunSpec, UpdateSpec
from snrkit.specs.schedule import learning_rate
from snrkit.training.follow import followed_bound
from snrkit.training.opening import (
    begin,
    data_digest,
    discard,
    find_previous,
    is_finished,
    resolve_spec,
    settle,
    summarise,
)
from snrkit.training.updates import joint_gradients, means_of_weights, step_in_turn
from snrkit.trial.needs import require
from snrkit.trial.opening import tried

# Normal numbers: 16 MiB in float32.
_DRAWN_AT_ONCE = 2**22
Progress = Callable[[float, float, str], None]
Stopped = Callable[[], bool]


def train(
    spec: RunSpec,
    run: RunDir,
    *,
    data_dir: Path | None,
    device: torch.device,
    resume: bool,
    progress: Progress,
    observe: Callable[["Trainer", Stopped], None] = lambda *_: None,
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
    return trainer.checkpoint()


def _train(trainer: "Trainer", progress: Progress, observe: Callable[["Trainer", Stopped], None]) -> None:
    """Train to the end, and record in the run's directory how it goes."""
    run = trainer.run_dir
    is_new = not run.checkpoint.exists()
    try:
        with stop_requests() as stopped:
            begin(run, trainer.spec, trainer.device, trainer.epoch)
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


class Crew(Protocol):
    """What is trained step by step: one run, or several side by side."""

    spec: RunSpec
    steps: int

    @property
    def epoch(self) -> int:
        """Finished epochs."""

    @property
    def step(self) -> int:
        """Optimiser steps done."""

    @property
    def position(self) -> int:
        """Steps done within the unfinished epoch."""

    def begin_epoch(self) -> None:
        """Set the learning rate and the order of the data points."""

    def take_step(self) -> None:
        """One optimiser step and its bookkeeping."""

    def finish_epoch(self) -> None:
        """Note the epoch's metrics."""

    def report(self, progress: Progress) -> None:
        """Tell how far it is."""

    def keep(self) -> None:
        """Write a checkpoint that stays."""

    def save(self) -> None:
        """Write the checkpoint to go on from."""


C = TypeVar("C", bound=Crew)


def run_epochs(crew: C, stopped: Stopped, progress: Progress, observe: Callable[[C, Stopped], None]) -> None:
    """Train until ``spec.epochs`` are done, saving at the beginning, every ``checkpoint_every`` epochs and at the end.

    Args:
        crew: what to train.
        stopped: asked after every step whether to stop.
        progress: called after every step with (done, total, note).
        observe: called with the crew and ``stopped`` after the last step of every epoch, before the epoch is counted. Where
            it raises, the state is saved as it stands, and a resumed run calls it again.

    Raises:
        NonFiniteError: a bound or a parameter became NaN or infinite; the last checkpoint is kept.
        Interrupted: a stop was asked for; the state is saved.
    """
    if crew.epoch == crew.step == crew.position == 0:
        crew.save()
    while crew.epoch < crew.spec.epochs:
        crew.begin_epoch()
        while crew.position < crew.steps:
            crew.take_step()
            crew.report(progress)
            if stopped():
                crew.save()
                raise Interrupted
        try:
            observe(crew, stopped)
        except BaseException:
            # What was trained is not given up for a measurement.
            crew.save()
            raise
        crew.finish_epoch()
        if crew.spec.keep_every and crew.epoch % crew.spec.keep_every == 0:
            crew.keep()
        if crew.epoch % crew.spec.checkpoint_every == 0 and crew.epoch < crew.spec.epochs:
            crew.save()
    crew.save()


class Trainer:
    """The state of one training run.

    Args:
        spec: resolved spec.
        dataset: its data.
        run: where checkpoints and metrics go.
        device: where to compute.
        previous: the checkpoint to go on from, if any.

    Attributes:
        steps: steps to an epoch.
        ahead: steps for which points and noise are drawn at once; a function of the spec and the kind of device.
        passes: how a step is taken that does not fit into one pass; None where it does.

    Raises:
        ResourceError: the model, or a step, does not fit into memory.
    """

    def __init__(
        self, spec: RunSpec, dataset: Dataset, run: RunDir, device: torch.device, previous: Checkpoint | None
    ) -> None:
        self.spec, self.run_dir, self.device, self.dataset = spec, run, device, dataset
        self.dtype: torch.dtype = getattr(torch, spec.dtype)
        self.streams = Streams(spec.seed)
        self.summary, self.data_digest = summarise(dataset), data_digest(dataset)
        self.hyper = Hyper(spec)
        self.estimator = self.hyper.present(0)
        with within_memory("model.options", "the parameters", "choose a smaller model"):
            self.model = build_model(spec.model, self.summary, spec.seed).to(device, self.dtype)
        self.batches = Batches(dataset, spec.data, self.streams, self.dtype, device)
        self.followed = test_points(dataset, spec.data, self.dtype, device, slice(0, spec.eval_points))
        self.steps = math.ceil(len(self.batches) / spec.batch_size)
        probe = test_points(dataset, spec.data, self.dtype, device, slice(0, 2))
        require([self.estimator], tried(self.model, probe, "training"))
        self.noise_shape = self.model.noise_shape(probe)
        self._samples = (spec.estimator.M, spec.estimator.K, *self.noise_shape)
        self.passes = Passes.needed(self.model, self.estimator, probe, spec.batch_size, *self._samples[:2])
        numbers = spec.batch_size * math.prod(self._samples)
        # On a GPU many small draws cost more than the step itself; on a CPU it makes no difference.
        single = device.type == "cpu" or self.passes is not None
        self.ahead = 1 if single else max(1, min(self.steps, _DRAWN_AT_ONCE // numbers))
        self._drawn: dict[str, tuple[int, Tensor]] = {}
        networks = self.model.networks(probe)
        named = dict(self.model.named_parameters())
        self.inference = [named[name] for name, network in networks.items() if network == "inference"]
        self.generative = [named[name] for name, network in networks.items() if network == "generative"]
        adam = spec.optimiser
        self.optimiser = torch.optim.Adam(
            [*self.generative, *self.inference], lr=adam.lr, betas=adam.betas, eps=adam.eps, maximize=True, fused=True
        )
        self.epoch = self.step = self.position = 0
        self.running = {"bound": 0.0, "points": 0.0, "seconds": 0.0}
        if previous is not None:
            self._restore(previous)

    def _restore(self, previous: Checkpoint) -> None:
        previous.fill(self.model, self.optimiser)
        self.epoch, self.step, self.position = previous.epoch, previous.step, previous.position
        self.running = dict(previous.running)
        self.hyper.restore(previous.hyper)
        # An epoch whose steps are all done is finished without another step to say what the options are.
        self.estimator = self.hyper.present(self.epoch)

    def checkpoint(self) -> Checkpoint:
        """The present state."""
        return Checkpoint(
            spec=self.spec.to_toml(),
            epoch=self.epoch,
            step=self.step,
            position=self.position,
            running=dict(self.running),
            model=self.model.state_dict(),
            optimiser=self.optimiser.state_dict(),
            data_mean=self.summary.mean,
            data_real=self.summary.real,
            hyper=self.hyper.state(),
            data_digest=self.data_digest,
        )

    def require_finite(self) -> None:
        """Check the parameters, as is due before they are saved.

        Raises:
            NonFiniteError: a parameter is NaN or infinite.
        """
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                self._complain(f"parameter {name}", "NaN or infinite")

    def save(self) -> None:
        """Write the present state.

        Raises:
            NonFiniteError: a parameter is NaN or infinite; nothing is written.
        """
        self.require_finite()
        save_checkpoint(self.run_dir.checkpoint, self.checkpoint())

    def keep(self) -> None:
        """Write a checkpoint of its own, under ``steps/``.

        Raises:
            NonFiniteError: a parameter is NaN or infinite; nothing is written.
        """
        self.require_finite()
        save_checkpoint(self.run_dir.steps / f"step-{self.step:08d}.pt", self.checkpoint())

    def begin_epoch(self) -> None:
        """Set the learning rate and shuffle the data points."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.spec.optimiser, self.epoch)
        self.order = self.streams.permutation("shuffle", (self.epoch,), len(self.batches)).to(self.device)

    def batch(self) -> Tensor:
        """The minibatch of the present step, ``[B, P]``."""

        def draw(step: int, position: int) -> Tensor:
            size = self.spec.batch_size
            return self.batches.train_batch(self.order[position * size : (position + self.ahead) * size], step)

        return self._rows("points", draw)

    def noise(self, points: int) -> Tensor:
        """The noise of the present step, ``[points, M, K, *noise_shape]``."""

        def draw(step: int, _: int) -> Tensor:
            shape = (self.ahead * self.spec.batch_size, *self._samples)
            return self.streams.normal("train", (step,), shape, dtype=self.dtype, device=self.device)

        return self._rows("noise", draw)[:points]

    def _rows(self, what: str, draw: Callable[[int, int], Tensor]) -> Tensor:
        """The present step's rows of what is drawn for ``ahead`` steps at once, keyed by the first of them."""
        offset = self.position % self.ahead
        first = self.step - offset
        if self._drawn.get(what, (-1, None))[0] != first:
            self._drawn[what] = (first, draw(first, self.position - offset))
        size = self.spec.batch_size
        return self._drawn[what][1][offset * size : (offset + 1) * size]

    def take_step(self) -> None:
        """One ascent step on the next minibatch.

        Raises:
            NonFiniteError: the bound is NaN or infinite; the parameters are as before.
            ResourceError: memory ran out; the step is not counted.
        """
        start = time.perf_counter()
        with memory_for_step(self.spec):
            x = self.batch()
            if self.hyper.changes:
                scale = learning_rate(self.spec.optimiser, self.epoch) / self.spec.optimiser.lr
                self.estimator = self.hyper.step(Context(self.epoch, scale, means_of_weights(self, x)))
            bound = self._step(x) if self.spec.update == UpdateSpec() else step_in_turn(self, x)
        self.account(bound, len(x), time.perf_counter() - start)

    def account(self, bound: float, points: int, seconds: float) -> None:
        """Count a step that was made.

        Args:
            bound: of the minibatch, nats per data point.
            points: data points in it.
            seconds: wall time it took.

        Raises:
            NonFiniteError: the bound is NaN or infinite; the step is not counted.
        """
        if not math.isfinite(bound):
            self._complain("bound", str(bound))
        self.step += 1
        self.position += 1
        for key, value in (("bound", bound * points), ("points", points), ("seconds", seconds)):
            self.running[key] += value

    def _step(self, x: Tensor) -> float:
        """One ascent step on a minibatch ``[B, P]``; returns the estimator's own bound, nats per data point."""
        theta, phi, bound = joint_gradients(self, x)
        for parameter, gradient in zip([*self.generative, *self.inference], [*theta, *phi], strict=True):
            parameter.grad = gradient
        if math.isfinite(bound):
            self.optimiser.step()
        return bound

    def _complain(self, what: str, value: str) -> NoReturn:
        rate = self.optimiser.param_groups[0]["lr"]
        raise NonFiniteError(
            what,
            f"became {value} at step {self.step} (epoch {self.epoch + 1}); the last checkpoint is kept",
            f"try a smaller learning rate (now {rate:g}: --set optimiser.lr={rate / 10:g}) or --dtype float64",
        )

    def report(self, progress: Progress) -> None:
        """Call ``progress`` with the steps done, those there are, and a note."""
        mean = self.running["bound"] / self.running["points"]
        speed = self.running["points"] / max(self.running["seconds"], 1e-9)
        note = f"epoch {self.epoch + 1}/{self.spec.epochs} bound {mean:.2f} nats {speed:.0f} images/s"
        progress(self.epoch * self.steps + self.position, self.spec.epochs * self.steps, note)

    def finish_epoch(self) -> None:
        """Append the epoch's metrics and go on to the next.

        Raises:
            NonFiniteError: the bound on the followed test points is NaN or infinite.
        """
        running = self.running
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "bound": running["bound"] / running["points"],
            "lr": self.optimiser.param_groups[0]["lr"],
            "seconds": running["seconds"],
            "images_per_second": running["points"] / max(running["seconds"], 1e-9),
        }
        row |= option_values(self.estimator)
        if len(self.followed):
            row["test_iwae64"] = followed_bound(self.model, self.followed, self.streams)
            if not math.isfinite(row["test_iwae64"]):
                self._complain("test_iwae64", str(row["test_iwae64"]))
        self.epoch, self.position, self.running = self.epoch + 1, 0, dict.fromkeys(running, 0.0)
        self.run_dir.append_metrics(row)
