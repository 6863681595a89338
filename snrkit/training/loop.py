"""The training loop. Every random number is a function of (seed, step), so a resumed run is bit-identical."""

import math
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from snrkit import bounds
from snrkit.config import EXTENSIBLE, RunSpec
from snrkit.data import load, resolve
from snrkit.data.base import Dataset
from snrkit.data.binarise import Batches, test_points
from snrkit.errors import CheckpointError, DataError, NonFiniteError, OutputError, SpecError
from snrkit.estimators.base import build_estimator, gradients
from snrkit.interrupt import Interrupted, stop_requests
from snrkit.models.base import DataSummary, build_model, check_log_weights
from snrkit.results import RunDir, write_json, write_text
from snrkit.streams import Streams
from snrkit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from snrkit.training.schedule import learning_rate

FOLLOWED_SAMPLES = 64
Progress = Callable[[float, float, str], None]


def resolve_spec(spec: RunSpec, dataset: Dataset) -> RunSpec:
    """The spec with what it left open filled in from the data."""
    return spec.model_copy(update={"data": resolve(spec.data, dataset.kind)})


def summarise(dataset: Dataset) -> DataSummary:
    """What a model may know of the training data."""
    scale = 255.0 if dataset.train.dtype == "uint8" else 1.0
    return DataSummary(torch.from_numpy(dataset.train.mean(axis=0, dtype="float64") / scale), dataset.kind == "real")


def train(
    spec: RunSpec,
    run: RunDir,
    *,
    data_dir: Path | None,
    device: torch.device,
    resume: bool,
    progress: Progress,
    observe: Callable[["Trainer"], None] = lambda _: None,
) -> Checkpoint:
    """Train a run to the end, from the beginning or from its checkpoint. A finished run is left as it is.

    Args:
        spec: what to train. A resumed run may differ from its first spec in ``config.EXTENSIBLE`` only.
        run: where results go.
        data_dir: folder of the data files; None: SNRKIT_DATA or the cache.
        device: where to compute.
        resume: go on from the run's checkpoint if there is one.
        progress: called with (done, total, note).
        observe: called after every epoch; it must leave the trainer as it is.

    Returns:
        The final checkpoint.

    Raises:
        OutputError: the run directory holds a run and ``resume`` is off, or cannot be written.
        SpecError, DataError, CheckpointError: bad input; nothing has been changed.
        NonFiniteError: the bound became NaN or infinite; the last checkpoint is kept.
        Interrupted: SIGINT or SIGTERM; the state is saved.
    """
    dataset = load(spec.data, data_dir)
    spec = resolve_spec(spec, dataset)
    previous = _previous(run, spec, resume)
    if previous is not None:
        _require_same_data(previous, summarise(dataset), spec.data.name)
        if (previous.epoch, previous.position) == (spec.epochs, 0):
            _settle(run, spec)
            return previous
    trainer = Trainer(spec, dataset, run, device, previous)
    if previous is None:
        _start(run, spec, device)
    else:
        run.write_metrics([row for row in run.read_metrics() if row["epoch"] <= previous.epoch])
        write_text(run.config, spec.to_toml())
    run.set_status("running")
    try:
        checkpoint = trainer.run(progress, observe)
    except Interrupted:
        run.set_status("interrupted", "signal")
        raise
    except BaseException as error:
        # On a full disk the status fails as well; what came first is what the user should read.
        with suppress(OutputError):
            run.set_status("failed", str(error) or error.__class__.__name__)
        raise
    run.set_status("done")
    return checkpoint


def _previous(run: RunDir, spec: RunSpec, resume: bool) -> Checkpoint | None:
    if not run.checkpoint.exists():
        return None
    if not resume:
        raise OutputError(str(run.path), "holds a run already", "add --resume to go on with it, or give another --out")
    previous = load_checkpoint(run.checkpoint)
    old, new = (_flat(s.model_dump(exclude=set(EXTENSIBLE))) for s in (previous.run_spec(), spec))
    for setting in old | new:
        if old.get(setting) != new.get(setting):
            problem = f"the run at '{run.path}' has {old.get(setting)}, not {new.get(setting)}"
            raise SpecError(setting, problem, "resume it with its own settings, or give another --out")
    if (previous.epoch, previous.position) > (spec.epochs, 0):
        begun = previous.epoch + (previous.position > 0)
        raise CheckpointError(str(run.path), f"is past epoch {spec.epochs} already", f"give --epochs {begun} or more")
    return previous


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested dict as one with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _require_same_data(previous: Checkpoint, summary: DataSummary, name: str) -> None:
    old, new = previous.data_mean, summary.mean
    # Means of the same data differ by rounding between machines.
    if old.shape != new.shape or not torch.allclose(old, new, rtol=1e-9, atol=1e-12):
        problem = "the training data are not those that the run began with"
        raise DataError(name, problem, "put them back, or give another --out")


def _settle(run: RunDir, spec: RunSpec) -> None:
    """Record that a run is finished, where that has not been done: it was killed just before."""
    if run.state() != "done":
        write_text(run.config, spec.to_toml())
        run.set_status("done")


def _start(run: RunDir, spec: RunSpec, device: torch.device) -> None:
    write_text(run.config, spec.to_toml())
    run.write_metrics([])
    write_json(run.env, environment(device))


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, device, commit and command line."""
    # The commit of the working directory, which is what a user would want to find again.
    git = ["git", "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        commit = ""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": str(device),
        "device_name": name,
        "threads": torch.get_num_threads(),
        "commit": commit,
        "argv": sys.argv[1:],
    }


class Trainer:
    """The state of one training run.

    Args:
        spec: resolved spec.
        dataset: its data.
        run: where checkpoints and metrics go.
        device: where to compute.
        previous: the checkpoint to go on from, if any.
    """

    def __init__(
        self, spec: RunSpec, dataset: Dataset, run: RunDir, device: torch.device, previous: Checkpoint | None
    ) -> None:
        self.spec, self.run_dir, self.device, self.dataset = spec, run, device, dataset
        self.dtype: torch.dtype = getattr(torch, spec.dtype)
        self.streams = Streams(spec.seed)
        self.summary = summarise(dataset)
        self.estimator = build_estimator(spec.estimator.name, spec.estimator.options)
        self.model = build_model(spec.model, self.summary, spec.seed).to(device, self.dtype)
        self.batches = Batches(dataset, spec.data, self.streams, self.dtype, device)
        self.followed = test_points(dataset, spec.data, self.dtype, device, slice(0, spec.eval_points))
        probe = test_points(dataset, spec.data, self.dtype, device, slice(0, 1))
        check_log_weights(self.model, probe)
        self.noise_shape = self.model.noise_shape(probe)
        networks = self.model.networks(probe)
        named = dict(self.model.named_parameters())
        self.inference = [named[name] for name, network in networks.items() if network == "inference"]
        self.generative = [named[name] for name, network in networks.items() if network == "generative"]
        adam = spec.optimiser
        self.optimiser = torch.optim.Adam(
            [*self.generative, *self.inference], lr=adam.lr, betas=adam.betas, eps=adam.eps, maximize=True
        )
        self.epoch = self.step = self.position = 0
        self.running = {"bound": 0.0, "points": 0.0, "seconds": 0.0}
        if previous is not None:
            self._restore(previous)

    def _restore(self, previous: Checkpoint) -> None:
        previous.fill(self.model, self.optimiser)
        self.epoch, self.step, self.position = previous.epoch, previous.step, previous.position
        self.running = dict(previous.running)

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
        )

    def save(self) -> Checkpoint:
        """Write the present state and return it.

        Raises:
            NonFiniteError: a parameter is NaN or infinite; nothing is written.
        """
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                self._complain(f"parameter {name}", "NaN or infinite")
        checkpoint = self.checkpoint()
        save_checkpoint(self.run_dir.checkpoint, checkpoint)
        return checkpoint

    def run(self, progress: Progress, observe: Callable[["Trainer"], None] = lambda _: None) -> Checkpoint:
        """Train until ``spec.epochs`` are done.

        Raises:
            NonFiniteError: a bound or a parameter became NaN or infinite; the last checkpoint is kept.
            Interrupted: a signal asked for a stop; the state is saved.
        """
        steps = math.ceil(len(self.batches) / self.spec.batch_size)
        with stop_requests() as stopped:
            if self.epoch == self.step == self.position == 0:
                self.save()
            while self.epoch < self.spec.epochs:
                self._epoch(steps, stopped, progress)
                if self.spec.keep_every and self.epoch % self.spec.keep_every == 0:
                    save_checkpoint(self.run_dir.steps / f"step-{self.step:08d}.pt", self.checkpoint())
                observe(self)
                if self.epoch % self.spec.checkpoint_every == 0 and self.epoch < self.spec.epochs:
                    self.save()
            return self.save()

    def _epoch(self, steps: int, stopped: Callable[[], bool], progress: Progress) -> None:
        rate = learning_rate(self.spec.optimiser, self.epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        order = self.streams.permutation("shuffle", (self.epoch,), len(self.batches))
        order = order.to(self.device)
        size = self.spec.batch_size
        while self.position < steps:
            start = time.perf_counter()
            index = order[self.position * size : (self.position + 1) * size]
            bound = self._step(self.batches.train_batch(index, self.step))
            if not math.isfinite(bound):
                self._complain("bound", str(bound))
            self.step += 1
            self.position += 1
            seconds = time.perf_counter() - start
            for key, value in (("bound", bound * len(index)), ("points", len(index)), ("seconds", seconds)):
                self.running[key] += value
            self._report(progress, steps)
            if stopped():
                self.save()
                raise Interrupted
        self._finish_epoch(rate)

    def _step(self, x: Tensor) -> float:
        """One ascent step on a minibatch ``[B, P]``; returns the estimator's own bound, nats per data point."""
        shape = (len(x), self.spec.estimator.M, self.spec.estimator.K, *self.noise_shape)
        noise = self.streams.normal("train", (self.step,), shape, dtype=self.dtype, device=self.device)
        weights = self.model(x, noise, path=self.estimator.path)
        generative, inference = gradients(self.estimator, weights, list(self.generative), list(self.inference))
        for parameter, gradient in zip([*self.generative, *self.inference], [*generative, *inference], strict=True):
            parameter.grad = gradient
        bound = float(self.estimator.bound(weights.log_w.detach()).mean())
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

    def _report(self, progress: Progress, steps: int) -> None:
        mean = self.running["bound"] / self.running["points"]
        speed = self.running["points"] / max(self.running["seconds"], 1e-9)
        note = f"epoch {self.epoch + 1}/{self.spec.epochs} bound {mean:.2f} nats {speed:.0f} images/s"
        progress(self.epoch * steps + self.position, self.spec.epochs * steps, note)

    def _finish_epoch(self, rate: float) -> None:
        running = self.running
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "bound": running["bound"] / running["points"],
            "lr": rate,
            "seconds": running["seconds"],
            "images_per_second": running["points"] / max(running["seconds"], 1e-9),
        }
        if len(self.followed):
            row["test_iwae64"] = self._follow()
            if not math.isfinite(row["test_iwae64"]):
                self._complain("test_iwae64", str(row["test_iwae64"]))
        self.epoch, self.position, self.running = self.epoch + 1, 0, dict.fromkeys(running, 0.0)
        self.run_dir.append_metrics(row)

    def _follow(self) -> float:
        """The 64-sample bound on the followed test points, nats per point, with the same noise after every epoch."""
        total = 0.0
        with torch.no_grad():
            for part, points in enumerate(torch.split(self.followed, 50)):
                shape = (len(points), 1, FOLLOWED_SAMPLES, *self.noise_shape)
                noise = self.streams.normal("follow", (part,), shape, dtype=self.dtype, device=self.device)
                total += float(bounds.iwae(self.model(points, noise).log_w).sum())
        return total / len(self.followed)
