"""The beta of ``ciwae`` while it changes in training: learnt step by step, or set for each stage of the schedule.

Learning it as in 001, section 3.7, descends beta L_VAE + (1 - beta) L_IWAE with L = -bound. The derivative is
L_VAE - L_IWAE = (K-sample bound) - ELBO, which by Jensen's inequality is not negative for any set of samples: beta can only
fall. Adam makes of a gradient of one sign a step of about its learning rate, whatever the gradient's size. So an
unconstrained beta passes 0 after some beta/lr steps and goes on; a bounded one tends to 0, which is IWAE.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from snrkit.core import bounds
from snrkit.errors import CheckpointError, SpecError
from snrkit.estimators.base import Estimator
from snrkit.estimators.ciwae import Ciwae, Mixture
from snrkit.specs.run import BetaSpec, RunSpec
from snrkit.training.schedule import learning_rate, stage_of

if TYPE_CHECKING:
    from snrkit.runs.checkpoint import Checkpoint
    from snrkit.training.trainer import Trainer


class BetaRule(Protocol):
    """What beta is at each step."""

    def step(self, trainer: Trainer, x: Tensor) -> Estimator:
        """The estimator for the coming step on a minibatch ``[B, *event]``."""

    def present(self, epoch: int) -> Estimator:
        """The estimator of the steps made last, in a begun epoch counted from 0."""

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state."""


def build_beta(spec: RunSpec) -> BetaRule | None:
    """The rule that a run's spec asks for; None where beta does not change.

    Raises:
        SpecError: settings that contradict each other.
    """
    beta = spec.beta
    if beta == BetaSpec():
        return None
    if spec.estimator.name != Ciwae.name:
        raise SpecError("beta", f"{spec.estimator.name} has no beta", "choose estimator ciwae, or drop beta.*")
    if beta.learn == "off" and not beta.stages:
        raise SpecError("beta.lr", "nothing is learnt", "set beta.learn to free or bounded, or drop beta.lr")
    if not beta.stages:
        return LearntBeta(beta, Ciwae(**spec.estimator.options).beta)
    if beta.learn != "off" or "beta" in spec.estimator.options:
        raise SpecError("beta.stages", "says what beta is, and so does another setting", "give one of them")
    if spec.optimiser.schedule != "burda":
        raise SpecError("beta.stages", "the constant schedule has no stages", "set optimiser.schedule=burda")
    return StagedBeta(tuple(beta.stages))


def beta_at(stages: tuple[float, ...], epoch: int) -> float:
    """The beta of an epoch, counted from 0."""
    return stages[min(stage_of(epoch), len(stages) - 1)]


def require_same_past(old: RunSpec, new: RunSpec, begun: int) -> None:
    """See to it that the first ``begun`` epochs have the same beta in two specs.

    Raises:
        SpecError: they have not.
    """
    if not old.beta.stages and not new.beta.stages:
        return
    for epoch in range(begun):
        was, now = (beta_at(_stages(spec), epoch) for spec in (old, new))
        if was != now:
            problem = f"stage {stage_of(epoch)} was begun with {was}, not {now}"
            raise SpecError("beta.stages", problem, "change only stages that have not begun")


def _stages(spec: RunSpec) -> tuple[float, ...]:
    return tuple(spec.beta.stages) or (spec.estimator.options.get("beta", Ciwae.beta),)


class StagedBeta:
    """A beta for each stage of the schedule.

    Args:
        stages: one beta per stage, the last for all that follow.
    """

    def __init__(self, stages: tuple[float, ...]) -> None:
        self._stages = stages

    def step(self, trainer: Trainer, x: Tensor) -> Estimator:  # noqa: ARG002 (learnt ones look at the data)
        """That of the present stage."""
        return self.present(trainer.epoch)

    def present(self, epoch: int) -> Estimator:
        """That of the epoch's stage."""
        return Ciwae(beta_at(self._stages, epoch))

    def state(self) -> dict[str, Tensor]:
        """None: the epoch says it all."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Nothing to do."""


class LearntBeta:
    """A beta that descends beta L_VAE + (1 - beta) L_IWAE by its own Adam, before the networks and on other noise.

    Args:
        spec: how.
        start: where it begins.

    Raises:
        SpecError: a bounded one is to begin at 0 or 1, where a sigmoid cannot be.
    """

    def __init__(self, spec: BetaSpec, start: float) -> None:
        self._spec = spec
        if spec.learn == "bounded" and not 0 < start < 1:
            raise SpecError("estimator.options.beta", f"a bounded beta cannot begin at {start:g}", "give e.g. beta=0.5")
        raw = math.log(start / (1 - start)) if spec.learn == "bounded" else start
        self._raw = torch.tensor(raw, dtype=torch.float64)
        self._adam = torch.optim.Adam([self._raw], lr=spec.lr)

    @property
    def value(self) -> float:
        """beta."""
        return float(torch.sigmoid(self._raw) if self._spec.learn == "bounded" else self._raw)

    def step(self, trainer: Trainer, x: Tensor) -> Estimator:
        """One step of beta; then the estimator with it."""
        slope = self.value * (1 - self.value) if self._spec.learn == "bounded" else 1.0
        self._raw.grad = slope * _descent(trainer, x).double().cpu()
        scale = learning_rate(trainer.spec.optimiser, trainer.epoch) / trainer.spec.optimiser.lr
        self._adam.param_groups[0]["lr"] = self._spec.lr * scale
        self._adam.step()
        return self.present(trainer.epoch)

    def present(self, epoch: int) -> Estimator:  # noqa: ARG002 (staged ones look at the epoch)
        """The one with beta as it is."""
        return Mixture(self.value)

    def state(self) -> dict[str, Tensor]:
        """The number behind beta, and Adam's state of it."""
        return {"raw": self._raw.clone(), **self._adam.state[self._raw]}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from such a state.

        Raises:
            CheckpointError: it holds no beta.
        """
        try:
            self._raw.copy_(state["raw"])
        except KeyError:
            raise CheckpointError("checkpoint", "holds no learnt beta", "train anew with another `out`") from None
        self._adam.state[self._raw] = {name: value.clone() for name, value in state.items() if name != "raw"}


def _descent(trainer: Trainer, x: Tensor) -> Tensor:
    """(K-sample bound) - ELBO on noise of its own, mean over a minibatch ``[B, *event]``."""
    return trainer.mean_over_points("beta", x, lambda log_w: bounds.iwae(log_w) - bounds.elbo(log_w))


def present_spec(checkpoint: Checkpoint) -> RunSpec:
    """The checkpoint's spec with the beta that was in force when it was saved as the estimator's."""
    spec = checkpoint.run_spec()
    rule = build_beta(spec)
    if isinstance(rule, LearntBeta):
        rule.restore(checkpoint.beta)
        beta = rule.value
    elif rule is not None:
        beta = beta_at(tuple(spec.beta.stages), max(0, checkpoint.epoch - (checkpoint.position == 0)))
    else:
        return spec
    estimator = spec.estimator.model_copy(update={"options": {"beta": beta}})
    return spec.model_copy(update={"estimator": estimator})
