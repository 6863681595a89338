"""The state of one training run: what a checkpoint holds, as it is worked on."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from snrkit.core.objective import NETWORKS, Network
from snrkit.errors import NonFiniteError
from snrkit.estimators.hyper import Hyper
from snrkit.models.base import LatentModel
from snrkit.models.summary import DataSummary
from snrkit.runs.checkpoint import Checkpoint
from snrkit.specs.run import RunSpec
from snrkit.specs.schedule import learning_rate


class State:
    """Model, optimiser and counts.

    Args:
        spec: resolved spec.
        model: as initialised, where it is to be trained.
        x: data ``[n, *event]`` that it takes.
        summary: what the model may know of the data.
        data_digest: of the data.
        hyper: the estimator's options as they begin.

    Attributes:
        networks: the parameters of each network.
        kernels: the matrix library that the run began with.
        epoch: finished epochs.
        step: optimiser steps done.
        position: steps done within the unfinished epoch.
        running: sums over the unfinished epoch.
        rounded: steps at which the optimiser's moments were rounded and gone on from.
    """

    def __init__(
        self, spec: RunSpec, model: LatentModel, x: Tensor, summary: DataSummary, data_digest: str, hyper: Hyper
    ) -> None:
        self.spec, self.model, self.summary, self.data_digest = spec, model, summary, data_digest
        self.hyper = hyper
        self.kernels = ""
        named, owners = dict(model.named_parameters()), model.networks(x)
        self.networks: dict[Network, list[nn.Parameter]] = {
            network: [named[name] for name, owner in owners.items() if owner == network] for network in NETWORKS
        }
        adam = spec.optimiser
        self.optimiser = torch.optim.Adam(
            self.trained, lr=adam.lr, betas=adam.betas, eps=adam.eps, maximize=True, fused=True
        )
        self.epoch = self.step = self.position = 0
        self.running = {"bound": 0.0, "points": 0.0, "seconds": 0.0}
        self.rounded: list[int] = []

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that are trained, in the optimiser's order."""
        return [*self.networks["generative"], *self.networks["inference"]]

    @property
    def rate(self) -> float:
        """The learning rate in force."""
        return float(self.optimiser.param_groups[0]["lr"])

    def begin_epoch(self) -> None:
        """Set the learning rate."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.spec.optimiser, self.epoch)

    def advance(self) -> None:
        """Count a step."""
        self.step += 1
        self.position += 1

    def note(self, bound: float, points: int, seconds: float) -> None:
        """Note the bound of a step on so many points, nats per data point."""
        for key, value in (("bound", bound * points), ("points", points), ("seconds", seconds)):
            self.running[key] += value

    def finish_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch, self.position, self.running = self.epoch + 1, 0, dict.fromkeys(self.running, 0.0)

    def restore(self, previous: Checkpoint) -> None:
        """Go on from a checkpoint."""
        previous.fill(self.model, self.optimiser)
        self.epoch, self.step, self.position = previous.epoch, previous.step, previous.position
        self.running = dict(previous.running)
        self.hyper.restore(previous.hyper)
        self.kernels, self.rounded = previous.kernels, list(previous.rounded)

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
            data_words=list(self.summary.words),
            hyper=self.hyper.state(),
            kernels=self.kernels,
            data_digest=self.data_digest,
            image_shape=self.summary.image_shape or (),
            rounded=list(self.rounded),
        )

    def require_finite(self) -> None:
        """Check the parameters, as is due before they are saved.

        Raises:
            NonFiniteError: a parameter is NaN or infinite.
        """
        for name, parameter in self.model.named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                self.complain(f"parameter {name}", "NaN or infinite")

    def complain(self, what: str, value: str, step: int | None = None) -> NoReturn:
        """Raise a NonFiniteError of a step of this epoch, by default the present one."""
        step = self.step if step is None else step
        raise NonFiniteError(
            what,
            f"became {value} at step {step} (epoch {self.epoch + 1}); the last checkpoint is kept",
            f"try a smaller learning rate (now {self.rate:g}: `optimiser.lr={self.rate / 10:g}`) or `dtype=float64`",
        )

    def moments(self, name: str) -> list[Tensor]:
        """One of Adam's moments for every trained parameter; zeros where no step has been made."""
        state = self.optimiser.state
        return [state[parameter].get(name, torch.zeros_like(parameter)) for parameter in self.trained]

    def live_in(self, values: Sequence[Tensor], first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        """Let parameters and Adam's moments be given tensors, one per trained parameter, which another will change."""
        for parameter, value, *moments in zip(self.trained, values, first, second, strict=True):
            parameter.data = value
            self.optimiser.state[parameter] |= dict(zip(("exp_avg", "exp_avg_sq"), moments, strict=True))

    def note_steps(self) -> None:
        """Put the count of steps where Adam keeps it, after steps that another made."""
        for parameter in self.trained:
            self.optimiser.state[parameter]["step"] = torch.tensor(float(self.step))
