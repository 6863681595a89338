"""A Bayesian classifier whose weights are shared by a minibatch, or drawn for every point; and random minibatches."""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Network
from snrkit.models.base import LatentModel, Posterior
from snrkit.models.densities import DiagonalNormal, standard_normal_log_prob
from snrkit.models.random_weights import RandomLinear, preactivation_moments


class Layers(nn.Module):
    """A hidden tanh layer and one logit; every weight and bias has a normal distribution.

    Args:
        features: input width.
        hidden: hidden width.
        scale: standard deviations at the start, in units of 1/sqrt(fan-in).
    """

    def __init__(self, features: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.hidden, self.output = RandomLinear(features, hidden, scale), RandomLinear(hidden, 1, scale)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of all weights and biases, each ``[P]``; a row of weights ends in its bias."""
        parts = [
            (
                torch.cat([layer.weight_mean, layer.bias_mean[:, None]], dim=1).flatten(),
                torch.cat([layer.weight_log_scale, layer.bias_log_scale[:, None]], dim=1).flatten().exp(),
            )
            for layer in (self.hidden, self.output)
        ]
        mean, scale = (torch.cat(column) for column in zip(*parts, strict=True))
        return mean, scale

    def divergence(self) -> Tensor:
        """KL(q(w) || N(0, I)), nats."""
        mean, scale = self.moments()
        return (0.5 * (mean.square() + scale.square() - 1) - scale.log()).sum()


class Classifier(LatentModel):
    """p(y|x, w) of rows ``[B, 1 + features]``, label first; "log w" is log p(y|x, w) over the density of what was drawn.

    The KL part of the lower bound is a fixed function of the parameters. Its gradient is the same in every draw, and so it
    is left out here.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers

    def networks(self, x: Tensor) -> dict[str, Network]:  # noqa: ARG002
        """All parameters are those of q(w)."""
        return dict.fromkeys((name for name, _ in self.named_parameters()), "inference")


def label_log_prob(x: Tensor, logit: Tensor) -> Tensor:
    """log p(y|logit) for rows ``[..., 1 + features]`` and logits ``[...]``."""
    return x[..., 0] * logit - softplus(logit)


class SharedWeights(Classifier):
    """One draw of the weights serves the whole minibatch: the gradients of its points are correlated."""

    independent_points = False

    def encode(self, x: Tensor) -> DiagonalNormal:
        """q(w), the same for every point."""
        mean, scale = self.layers.moments()
        return DiagonalNormal(mean.expand(len(x), -1), scale.expand(len(x), -1))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, 1 + features]``, weights ``[1 or B, M, K, P]`` to ``[B, M, K]``."""
        width, fan_in = self.layers.hidden.weight_mean.shape
        first, second = z.split([width * (fan_in + 1), width + 1], dim=-1)
        first = first.unflatten(-1, (width, fan_in + 1))
        units = torch.tanh(torch.einsum("bmki,bmkoi->bmko", x[..., 1:], first[..., :-1]) + first[..., -1])
        return label_log_prob(x, (units * second[..., :-1]).sum(dim=-1) + second[..., -1])

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        """The noise of the P weights is spread over the points, so that none of it is drawn in vain."""
        return (math.ceil(self.layers.moments()[0].shape[0] / len(x)),)

    def forward(self, x: Tensor, noise: Tensor, path: bool = False) -> LogWeights:
        """As ``LatentModel.forward``, with noise ``[B, M, K, ceil(P / B)]`` and one set of weights per (m, k)."""
        q = self.encode(x[:1])
        weights = q.sample(noise.movedim(0, 2).flatten(2)[None, ..., : q.loc.shape[-1]])
        shape = noise.shape[:3]
        log_q_path = q.detached().log_prob(weights).expand(shape) if path else None
        return LogWeights(self.log_joint(x[:, None, None], weights), q.log_prob(weights).expand(shape), log_q_path)


class OwnWeights(Classifier):
    """Weights of its own for every point and sample, by local reparameterisation: z holds the pre-activations."""

    def encode(self, x: Tensor) -> "Preactivations":
        """The distribution of the pre-activations of rows ``[B, 1 + features]``."""
        output = self.layers.output
        tensors = output.weight_mean, output.bias_mean, output.weight_log_scale, output.bias_log_scale
        return Preactivations(*self.layers.hidden.moments(x[:, 1:]), tensors)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, 1 + features]``, pre-activations ``[B, M, K, hidden + 1]`` to ``[B, M, K]``."""
        return label_log_prob(x, z[..., -1])


@dataclass(frozen=True)
class Preactivations:
    """q of the hidden pre-activations, and of the logit given them.

    Attributes:
        loc: means of the hidden pre-activations, ``[B, hidden]``.
        scale: their standard deviations.
        output: parameters of the output layer, as ``preactivation_moments`` takes them.
    """

    loc: Tensor
    scale: Tensor
    output: tuple[Tensor, Tensor, Tensor, Tensor]

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """``(hidden + 1,)``."""
        return (self.loc.shape[-1] + 1,)

    @property
    def mean(self) -> Tensor:
        """Means of the hidden pre-activations, ``[B, hidden]``."""
        return self.loc

    def sample(self, noise: Tensor) -> Tensor:
        """Noise to pre-activations, both ``[B, M, K, hidden + 1]``."""
        hidden = self.loc[:, None, None] + self.scale[:, None, None] * noise[..., :-1]
        loc, scale = preactivation_moments(torch.tanh(hidden), *self.output)
        return torch.cat([hidden, loc + scale * noise[..., -1:]], dim=-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Pre-activations ``[B, M, K, hidden + 1]`` to ``[B, M, K]``."""
        hidden, logit = z[..., :-1], z[..., -1:]
        loc, scale = preactivation_moments(torch.tanh(hidden), *self.output)
        own = standard_normal_log_prob((hidden - self.loc[:, None, None]) / self.scale[:, None, None])
        return (
            own
            - self.scale.log().sum(-1)[:, None, None]
            + standard_normal_log_prob((logit - loc) / scale)
            - scale.log()[..., 0]
        )

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return replace(
            self, loc=self.loc.detach(), scale=self.scale.detach(), output=tuple(t.detach() for t in self.output)
        )


class RandomMinibatch(LatentModel):
    """A classifier on points drawn with replacement from its data: of x only the number of rows counts.

    One further number of a point's noise picks it, the same for all its samples, so that the measuring code need not know
    that there are draws of data.

    Args:
        model: the classifier.
        data: rows ``[N, 1 + features]``.
    """

    def __init__(self, model: Classifier, data: Tensor) -> None:
        super().__init__()
        self.model = model
        self.independent_points = model.independent_points
        self.register_buffer("data", data)

    def encode(self, x: Tensor) -> Posterior:
        """Of given rows, as the classifier."""
        return self.model.encode(x)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """Of given rows, as the classifier."""
        return self.model.log_joint(x, z)

    def networks(self, x: Tensor) -> dict[str, Network]:
        """As of the classifier."""
        return {f"model.{name}": network for name, network in self.model.networks(x).items()}

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        """The classifier's, and one more number."""
        return (self.model.noise_shape(self.data[:1].expand(len(x), -1))[0] + 1,)

    def forward(self, x: Tensor, noise: Tensor, path: bool = False) -> LogWeights:  # noqa: ARG002
        """Log-weights ``[B, M, K]`` of a random minibatch of B points."""
        uniform = torch.special.ndtr(noise[:, 0, 0, 0])
        rows = (uniform * len(self.data)).long().clamp(max=len(self.data) - 1)
        return self.model(self.data[rows], noise[..., 1:], path)
