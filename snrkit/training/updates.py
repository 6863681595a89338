"""Steps in which the two networks see other samples or other parameters than each other (options of 001).

Adam works coordinate by coordinate and skips parameters without a gradient, so one Adam over both networks is two Adams,
one for each: a second optimiser would change nothing, bit for bit, and there is none. What does change training is
which samples a network sees, and whether the other has moved before it looks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from snrkit.backend.kernels import FastLinear
from snrkit.core.streams import Streams
from snrkit.estimators.base import gradients
from snrkit.models.base import Network
from snrkit.specs.run import UpdateSpec

if TYPE_CHECKING:
    from snrkit.estimators.hyper import Value
    from snrkit.estimators.passes import Passes
    from snrkit.training.loop import Trainer

# The stream of the noise that learnt options see; it has the name of the first that there was.
_OPTIONS = "beta"


def fresh_noise(trainer: Trainer, purpose: str, x: Tensor) -> Tensor:
    """Noise of the present step for a minibatch ``[B, *event]``, ``[B, M, K, *noise_shape]``."""
    estimator = trainer.spec.estimator
    shape = (len(x), estimator.M, estimator.K, *trainer.noise_shape)
    return trainer.streams.normal(purpose, (trainer.step,), shape, dtype=trainer.dtype, device=trainer.device)


def noise_in_passes(trainer: Trainer, passes: Passes, purpose: str, x: Tensor) -> Iterator[Tensor]:
    """The same numbers a few points at a time, for a step that is taken in passes."""
    return passes.noise(trainer.streams, purpose, trainer.step, len(x), trainer.dtype, trainer.device)


def means_of_weights(trainer: Trainer, x: Tensor) -> Callable[[Value], Tensor]:
    """The mean over a minibatch ``[B, *event]`` of what log-weights give, on the noise that the estimator's options see."""

    @functools.cache
    def log_w() -> Tensor:
        found: Tensor = trainer.model(x, fresh_noise(trainer, _OPTIONS, x)).log_w
        return found

    @torch.no_grad()
    def mean(value: Value) -> Tensor:
        if trainer.passes is not None:
            noise = noise_in_passes(trainer, trainer.passes, _OPTIONS, x)
            return trainer.passes.mean(trainer.model, x, noise, value)
        return value(log_w()).mean()

    return mean


def gradients_in_passes(
    trainer: Trainer, passes: Passes, purpose: str, x: Tensor, generative: list[Tensor], inference: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], float]:
    """Gradients of both networks, and the estimator's own bound, where the step does not fit into one pass."""
    noise = noise_in_passes(trainer, passes, purpose, x)
    return passes.gradients(trainer.model, trainer.estimator, x, noise, generative, inference)


def joint_gradients(trainer: Trainer, x: Tensor) -> tuple[list[Tensor], list[Tensor], float]:
    """Gradients of both networks at the same parameters and on the same samples, and the estimator's own bound."""
    generative: list[Tensor] = [*trainer.generative]
    inference: list[Tensor] = [*trainer.inference]
    if trainer.passes is not None:
        return gradients_in_passes(trainer, trainer.passes, "train", x, generative, inference)
    with FastLinear():
        weights = trainer.model(x, trainer.noise(len(x)), path=trainer.estimator.path)
    theta, phi = gradients(trainer.estimator, weights, generative, inference)
    return theta, phi, float(trainer.estimator.bound(weights.log_w.detach()).mean())


def turns(spec: UpdateSpec, streams: Streams, step: int) -> tuple[Network, Network]:
    """The networks in the order in which they take a step."""
    if spec.order == "random":
        encoder_first = bool(streams.numpy("order", step).integers(2))
    else:
        encoder_first = spec.order == "encoder-first"
    return ("inference", "generative") if encoder_first else ("generative", "inference")


def step_in_turn(trainer: Trainer, x: Tensor) -> float:
    """One ascent step of each network on a minibatch ``[B, *event]``, as ``spec.update`` says.

    Returns:
        The estimator's own bound before the step, nats per data point; a bound that is NaN or infinite ends the step.
    """
    spec = trainer.spec.update
    own: dict[Network, list[Tensor]] = {"generative": [*trainer.generative], "inference": [*trainer.inference]}
    found: list[float] = []
    for network in turns(spec, trainer.streams, trainer.step):
        separate = spec.samples == "separate" and network == "inference"
        purpose = "train-inference" if separate else "train"
        wanted = {name: parameters if name == network else [] for name, parameters in own.items()}
        theta, phi, bound = _gradients(trainer, purpose, x, wanted["generative"], wanted["inference"])
        for parameter, gradient in zip(own[network], [*theta, *phi], strict=True):
            parameter.grad = gradient
        found.append(bound)
        if not math.isfinite(found[-1]):
            return found[-1]
        if spec.order != "joint":
            trainer.optimiser.step()
            trainer.optimiser.zero_grad()
    if spec.order == "joint":
        trainer.optimiser.step()
    return found[0]


def _gradients(
    trainer: Trainer, purpose: str, x: Tensor, generative: list[Tensor], inference: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], float]:
    if trainer.passes is not None:
        return gradients_in_passes(trainer, trainer.passes, purpose, x, generative, inference)
    weights = trainer.model(x, fresh_noise(trainer, purpose, x), path=trainer.estimator.path)
    both = gradients(trainer.estimator, weights, generative, inference)
    return *both, float(trainer.estimator.bound(weights.log_w.detach()).mean())
