"""One run as it is trained: its state, what feeds it, and the record of how it goes."""

import math
import time
from functools import partial
from typing import Any

import torch
from torch import Tensor

from snrkit.backend.kernels import chosen, using
from snrkit.backend.memory import within_memory
from snrkit.backend.precision import products, require_precision
from snrkit.data.base import Dataset
from snrkit.data.binarise import test_points
from snrkit.estimators.base import option_values, require_samples
from snrkit.estimators.hyper import Context, Hyper
from snrkit.estimators.passes import Passes, memory_for_step
from snrkit.models.base import LatentModel, build_model
from snrkit.models.naming import is_own
from snrkit.runs.checkpoint import Checkpoint, save_checkpoint
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.specs.schedule import learning_rate
from snrkit.training.ahead import Ahead, Taken, Way, way_on
from snrkit.training.alone import ahead_of, looks_ahead
from snrkit.training.feed import Feed
from snrkit.training.follow import followed_bound
from snrkit.training.opening import data_digest, data_summary
from snrkit.training.state import State
from snrkit.training.step import ascend, mean_over_points
from snrkit.trial.needs import require, require_seeded
from snrkit.trial.opening import tried
from snrkit.types import Progress

# The stream of the noise that learnt options see; it has the name of the first that there was.
_OPTIONS = "beta"


class Trainer:
    """A run to be trained, a ``Crew`` of one.

    Args:
        spec: resolved spec.
        dataset: its data.
        run: where checkpoints and metrics go.
        device: where to compute.
        previous: the checkpoint to go on from, if any.
        way: how steps are taken, where the spec and the model allow it; None: as the device does best.

    Attributes:
        state: what a checkpoint holds.
        feed: minibatches and noise.
        estimator: whose objective the present step ascends.
        steps: steps to an epoch.

    Raises:
        SpecError: estimator, options or model cannot be built, or the device lacks the precision asked for.
        CapabilityError: the estimator is not right for the model.
        ResourceError: the model, or a step, does not fit into memory.
    """

    def __init__(
        self,
        spec: RunSpec,
        dataset: Dataset,
        run: RunDir,
        device: torch.device,
        previous: Checkpoint | None,
        *,
        way: Way | None = None,
    ) -> None:
        self.spec, self.run_dir, self.device, self.dataset = spec, run, device, dataset
        require_precision(spec.precision, device)
        dtype, summary, own = getattr(torch, spec.dtype), data_summary(dataset), spec.estimator
        hyper = Hyper(spec)
        self.estimator = hyper.present(0)
        with within_memory("model.options", "the parameters", "choose a smaller model"):
            model = build_model(spec.model, summary, spec.seed).to(device, dtype)
        self._followed = test_points(dataset, spec.data, dtype, device, slice(0, spec.eval_points))
        probe = test_points(dataset, spec.data, dtype, device, slice(0, 2))
        require_samples(hyper.kinds(), own.K)
        findings = tried(model, probe, "training")
        require(hyper.kinds(), findings)
        if is_own(spec.model.name):
            require_seeded(findings)
        passes = Passes.needed(model, self.estimator, probe, spec.batch_size, own.M, own.K)
        self.state = State(spec, model, probe, summary, data_digest(dataset), hyper)
        self.feed = Feed(self.state, dataset, device, model.noise_shape(probe), passes)
        self.steps = self.feed.steps
        if previous is not None:
            self.state.restore(previous)
            # An epoch whose steps are all done is finished without another step to say what the options are.
            self.estimator = hyper.present(self.epoch, max(0, self.step - 1))
        self.state.kernels = self.state.kernels or chosen(dtype, device)
        self._way = way or way_on(device)
        # Made at the first step: beside other runs it takes none.
        self._ahead: Ahead | None = None

    @property
    def model(self) -> LatentModel:
        """The model as it is."""
        return self.state.model

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return self.state.epoch

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.state.step

    @property
    def position(self) -> int:
        """Steps done within the unfinished epoch."""
        return self.state.position

    def save(self) -> None:
        """Write the present state.

        Raises:
            NonFiniteError: a parameter is NaN or infinite; nothing is written.
        """
        self._require_sound()
        save_checkpoint(self.run_dir.checkpoint, self.state.checkpoint())

    def keep(self) -> None:
        """Write a checkpoint of its own, under ``steps/``.

        Raises:
            NonFiniteError: a parameter is NaN or infinite; nothing is written.
        """
        self._require_sound()
        save_checkpoint(self.run_dir.steps / f"step-{self.step:08d}.pt", self.state.checkpoint())

    def _require_sound(self) -> None:
        self.settle()
        self.state.require_finite()
        if self._ahead is not None:
            self.state.note_steps()

    def begin_epoch(self) -> None:
        """Set the learning rate and shuffle the data points."""
        self.state.begin_epoch()
        self.feed.begin_epoch()

    def take_step(self) -> None:
        """One ascent step on the next minibatch.

        Raises:
            NonFiniteError: the bound is NaN or infinite; the parameters are as before.
            ResourceError: memory ran out; the step is not counted.
        """
        ahead = self._looking_ahead()
        if ahead is None:
            self._take_plain_step()
            return
        with memory_for_step(self.spec), using(self.state.kernels):
            ahead.take()
        self.state.advance()
        if ahead.due:
            self.settle()

    def _take_plain_step(self) -> None:
        start = time.perf_counter()
        with memory_for_step(self.spec), using(self.state.kernels):
            x = self.feed.batch()
            if self.state.hyper.changes:
                self.estimator = self.state.hyper.step(self._context(x))
            bound = self._step(x)
        self.account(bound, len(x), time.perf_counter() - start)

    def _looking_ahead(self) -> Ahead | None:
        """What lies ahead of it, where its steps are taken so."""
        if self._ahead is None and self._way != "plain" and looks_ahead(self.state, self.feed, self.estimator):
            self._ahead = ahead_of(self.state, self.feed, self.estimator, captured=self._way == "captured")
        return self._ahead

    def settle(self) -> None:
        """Read the bounds of the steps that were taken without waiting for them.

        Raises:
            NonFiniteError: one is NaN or infinite; the parameters are as before its step.
        """
        for taken in self._ahead.read() if self._ahead is not None else ():
            self.note(taken, taken.bounds[0])

    def note(self, taken: Taken, bound: float) -> None:
        """Note a step that was counted before its bound was known, nats per data point.

        Raises:
            NonFiniteError: the bound is NaN or infinite.
        """
        if not math.isfinite(bound):
            self.state.complain("bound", str(bound), taken.step)
        self.state.note(bound, taken.points, taken.seconds)

    def _step(self, x: Tensor) -> float:
        return ascend(self.state, self.feed, self.estimator, x)

    def _context(self, x: Tensor) -> Context:
        scale = learning_rate(self.spec.optimiser, self.epoch) / self.spec.optimiser.lr
        return Context(self.epoch, self.step, scale, partial(mean_over_points, self.state, self.feed, _OPTIONS, x))

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
            self.state.complain("bound", str(bound))
        self.state.advance()
        self.state.note(bound, points, seconds)

    def report(self, progress: Progress) -> None:
        """Call ``progress`` with the steps done, those there are, and a note."""
        running, note = self.state.running, f"epoch {self.epoch + 1}/{self.spec.epochs}"
        if running["points"]:  # of the steps whose bounds are known
            mean = running["bound"] / running["points"]
            speed = running["points"] / max(running["seconds"], 1e-9)
            note += f" bound {mean:.2f} nats {speed:.0f} images/s"
        progress(self.epoch * self.steps + self.position, self.spec.epochs * self.steps, note)

    def finish_epoch(self) -> None:
        """Append the epoch's metrics and go on to the next.

        Raises:
            NonFiniteError: the bound on the followed test points is NaN or infinite.
        """
        running = self.state.running
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "bound": running["bound"] / running["points"],
            "lr": self.state.rate,
            "seconds": running["seconds"],
            "images_per_second": running["points"] / max(running["seconds"], 1e-9),
        }
        row |= option_values(self.estimator)
        if self.state.rounded:
            row["rounded_at"] = self.state.rounded[-1]
        if len(self._followed):
            with products("float32", self.device):
                row["test_iwae64"] = followed_bound(self.model, self._followed, self.feed.streams)
            if not math.isfinite(row["test_iwae64"]):
                self.state.complain("test_iwae64", str(row["test_iwae64"]))
        self.state.finish_epoch()
        self.run_dir.append_metrics(row)
