"""One step of a run: the gradients of its objective, taken by both networks at once or in turn (options of 001).

Adam works coordinate by coordinate and skips parameters without a gradient, so one Adam over both networks is two Adams,
one for each: a second optimiser would change nothing, bit for bit, and there is none. What does change training is
which samples a network sees, and whether the other has moved before it looks.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from snrkit.core.objective import Gradients, Network, Objective, step
from snrkit.core.streams import Streams
from snrkit.estimators.base import Estimator
from snrkit.estimators.passes import forward_of
from snrkit.specs.run import UpdateSpec
from snrkit.training.feed import Feed
from snrkit.training.state import State


def turns(spec: UpdateSpec, streams: Streams, number: int) -> tuple[tuple[Network, ...], ...]:
    """The networks that look together, in the order in which they do, at step ``number``."""
    if spec.order == "joint":
        return (("generative", "inference"),) if spec.samples == "shared" else (("generative",), ("inference",))
    encoder_first = spec.order == "encoder-first"
    if spec.order == "random":
        encoder_first = bool(streams.numpy("order", number).integers(2))
    return (("inference",), ("generative",)) if encoder_first else (("generative",), ("inference",))


def ascend(state: State, feed: Feed, estimator: Estimator, x: Tensor) -> float:
    """One ascent step on a minibatch ``[B, *event]``, as the spec's ``update`` says.

    Returns:
        The estimator's own bound before the step, nats per data point; a bound that is NaN or infinite ends the step.
    """
    update, objective = state.spec.update, estimator.objective
    if update.samples == "separate":
        objective = objective.with_own_noise()
    seen: list[float] = []
    for networks in turns(update, feed.streams, state.step):
        found, bound = _gradients(state, feed, objective, x, networks)
        for network, gradients in found.items():
            for parameter, gradient in zip(state.networks[network], gradients, strict=True):
                parameter.grad = gradient
        seen.append(float(bound))
        if not math.isfinite(seen[-1]):
            return seen[-1]
        if update.order != "joint":
            _move(state)
            state.optimiser.zero_grad()
    if update.order == "joint":
        _move(state)
    return seen[0]


def _move(state: State) -> None:
    """Let the parameters that have a gradient take a step."""
    clip = state.spec.optimiser.clip
    if clip is not None:
        moving = [parameter for parameter in state.trained if parameter.grad is not None]
        gradients = [parameter.grad for parameter in moving if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(own) for own in gradients]))
        # Not in place: autograd may give two parameters one tensor.
        for parameter, gradient in zip(moving, gradients, strict=True):
            parameter.grad = gradient * clipping(norm, clip)
    state.optimiser.step()


def clipping(norm: Tensor, clip: float) -> Tensor:
    """What gradients of given norms are scaled by so that none is longer than ``clip``; exactly 1 where none is."""
    return clip / norm.clamp(min=clip)


def _gradients(
    state: State, feed: Feed, objective: Objective, x: Tensor, networks: tuple[Network, ...]
) -> tuple[Gradients, Tensor]:
    wanted = {network: state.networks[network] for network in networks}
    if feed.passes is not None:
        return feed.passes.step(objective, state.model, x, feed.portioned(feed.passes, len(x)), wanted)
    noises = feed.noises(len(x), sleep=objective.needs.sleep)
    return step(objective, forward_of(state.model, x, objective.needs.parts), noises, wanted)


@torch.no_grad()
def mean_over_points(state: State, feed: Feed, purpose: str, x: Tensor, value: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean over a minibatch's points of what log-weights ``[n, M, K]`` on noise of their own give, ``[n]``."""
    if feed.passes is not None:
        return feed.passes.mean(state.model, x, feed.portions(feed.passes, purpose, len(x)), value)
    return value(state.model(x, feed.noise(purpose, len(x))).log_w).mean()
