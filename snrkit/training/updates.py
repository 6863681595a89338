"""Steps in which the two networks see other samples or other parameters than each other (options of 001).

Adam works coordinate by coordinate and skips parameters without a gradient, so one Adam over both networks is two Adams,
one for each: a second optimiser would change nothing, bit for bit, and there is none. What does change training is
which samples a network sees, and whether the other has moved before it looks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from snrkit.config import UpdateSpec
from snrkit.estimators.base import gradients
from snrkit.models.base import Network
from snrkit.streams import Streams

if TYPE_CHECKING:
    from snrkit.training.loop import Trainer


def fresh_noise(trainer: Trainer, purpose: str, x: Tensor) -> Tensor:
    """Noise of the present step for a minibatch ``[B, *event]``, ``[B, M, K, *noise_shape]``."""
    estimator = trainer.spec.estimator
    shape = (len(x), estimator.M, estimator.K, *trainer.noise_shape)
    return trainer.streams.normal(purpose, (trainer.step,), shape, dtype=trainer.dtype, device=trainer.device)


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
        noise = fresh_noise(trainer, "train-inference" if separate else "train", x)
        weights = trainer.model(x, noise, path=trainer.estimator.path)
        wanted = {name: parameters if name == network else [] for name, parameters in own.items()}
        both = gradients(trainer.estimator, weights, wanted["generative"], wanted["inference"])
        for parameter, gradient in zip(own[network], [*both[0], *both[1]], strict=True):
            parameter.grad = gradient
        found.append(float(trainer.estimator.bound(weights.log_w.detach()).mean()))
        if not math.isfinite(found[-1]):
            return found[-1]
        if spec.order != "joint":
            trainer.optimiser.step()
            trainer.optimiser.zero_grad()
    if spec.order == "joint":
        trainer.optimiser.step()
    return found[0]
