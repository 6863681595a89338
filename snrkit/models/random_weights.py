"""IWAER: an image model whose networks draw their own weights for every data point and sample.

Hernandez-Lobato et al. 2016 put normal distributions q(w) with free means and scales over the weights, with no prior: eq. 3
averages over q(w) and has the density of the latents alone in its ratio. So log w = log p(x|z, w) + log p(z) -
log q(z|x, w), without log p(w) or log q(w) (the proposal of w is its distribution in the model, and they cancel), and the
mean of w over samples estimates the likelihood of the marginal model, E_q(w) p(x|w). Equation 3 lacks the logarithm of that
mean which "lower bound of the log-likelihood" means; it is taken here, as for every K-sample bound.

Each draw of a layer's weights meets one input, so its pre-activations are independent normals, and sampling them instead
(Kingma et al. 2015, local reparameterisation) is exact in distribution, layer by layer, and needs no weight tensors.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from snrkit.core.streams import Streams
from snrkit.models.base import Posterior, parse_options
from snrkit.models.densities import bernoulli_log_prob, normal_log_prob, standard_normal_log_prob
from snrkit.models.standard import BernoulliPixels
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Positive, Spec

_NODES = 32


class RandomWeightsOptions(Spec):
    """Options of ``random-weights``.

    Attributes:
        random: ``both`` networks draw their weights (IWAER), or the ``recognition`` network only (IWAER_rec).
        hidden: width of the one hidden layer of each network.
        latent: dimension of z.
        initial_scale: standard deviation of every weight and bias at the start, in units of 1/sqrt(fan-in).
    """

    random: Literal["both", "recognition"] = "both"
    hidden: Positive = 400
    latent: Positive = 20
    initial_scale: Annotated[float, Field(gt=0)] = 0.1


class RandomLinear(nn.Module):
    """A linear layer with independent normal weights and biases, drawn anew for every input row.

    Standard deviations are exponentials of parameters, which keeps them positive; a coordinate of log s has the SNR of the
    same coordinate of s, since their gradients differ by the constant factor s.

    Args:
        fan_in: input width.
        fan_out: output width.
        initial_scale: standard deviation at the start, in units of 1/sqrt(fan_in).
    """

    def __init__(self, fan_in: int, fan_out: int, initial_scale: float) -> None:
        super().__init__()
        start = nn.Linear(fan_in, fan_out)
        log_scale = math.log(initial_scale / math.sqrt(fan_in))
        self.weight_mean, self.bias_mean = start.weight, start.bias
        self.weight_log_scale = nn.Parameter(torch.full((fan_out, fan_in), log_scale))
        self.bias_log_scale = nn.Parameter(torch.full((fan_out,), log_scale))

    def moments(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the pre-activations: ``[..., in]`` to two of ``[..., out]``."""
        return preactivation_moments(h, self.weight_mean, self.bias_mean, self.weight_log_scale, self.bias_log_scale)

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        """Pre-activations of inputs ``[..., in]`` under weights of their own, from noise ``[..., out]``."""
        mean, scale = self.moments(h)
        return mean + scale * noise

    def draw(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Weights ``[..., out, in]`` and biases ``[..., out]`` from noise ``[..., out, in + 1]``."""
        weight = self.weight_mean + self.weight_log_scale.exp() * noise[..., :-1]
        return weight, self.bias_mean + self.bias_log_scale.exp() * noise[..., -1]


def preactivation_moments(
    h: Tensor, weight_mean: Tensor, bias_mean: Tensor, weight_log_scale: Tensor, bias_log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of W h + b for independent normal W ``[out, in]`` and b ``[out]``.

    Args:
        h: inputs ``[..., in]``.
        weight_mean: means of W.
        bias_mean: means of b.
        weight_log_scale: logarithms of the standard deviations of W.
        bias_log_scale: logarithms of those of b.

    Returns:
        Two tensors ``[..., out]``.
    """
    variance = linear(h.square(), (2 * weight_log_scale).exp(), (2 * bias_log_scale).exp())
    return linear(h, weight_mean, bias_mean), variance.sqrt()


class RandomNetwork(nn.Module):
    """One hidden tanh layer; both layers draw their weights for every row.

    Attributes:
        noise: standard normal numbers that one row consumes.
    """

    def __init__(self, fan_in: int, hidden: int, fan_out: int, initial_scale: float) -> None:
        super().__init__()
        self.noise = hidden + fan_out
        self.hidden = RandomLinear(fan_in, hidden, initial_scale)
        self.output = RandomLinear(hidden, fan_out, initial_scale)

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        """Inputs ``[..., in]`` and noise ``[..., hidden + out]``, broadcast against each other, to ``[..., out]``."""
        width = self.hidden.bias_mean.shape[0]
        out: Tensor = self.output(torch.tanh(self.hidden(h, noise[..., :width])), noise[..., width:])
        return out

    def expected(self, h: Tensor) -> Tensor:
        """E[output] over the weights: ``[..., in]`` to ``[..., out]``.

        Hidden units are tanh of normals, and the output is linear in them with weights independent of them, so
        one-dimensional Gauss-Hermite quadrature is all it takes.
        """
        nodes, mass = (torch.as_tensor(part).to(h) for part in np.polynomial.hermite_e.hermegauss(_NODES))
        mean, scale = self.hidden.moments(h)
        units = torch.tanh(mean[..., None] + scale[..., None] * nodes) @ (mass / mass.sum())
        return self.output.moments(units)[0]


class FixedNetwork(nn.Module):
    """One hidden tanh layer with ordinary weights, to stand in the place of a ``RandomNetwork``."""

    noise = 0

    def __init__(self, fan_in: int, hidden: int, fan_out: int) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(fan_in, hidden), nn.Linear(hidden, fan_out)

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:  # noqa: ARG002
        """Inputs ``[..., in]`` to ``[..., out]``; there is no noise to use."""
        out: Tensor = self.output(torch.tanh(self.hidden(h)))
        return out


@dataclass(frozen=True)
class RandomProposal:
    """q(z|x, w) beside the noise that stands for w: a "sample" is z followed by that noise, unchanged.

    The noise has the same distribution under the model and under the proposal, so its density cancels in log w and is left
    out of both.

    Attributes:
        network: the recognition network.
        x: data ``[B, *event]``.
        latent: dimension D of z.
        weight_noise: numbers W that stand for the weights of both networks.
        constant: whether gradients stop at the location and scale of z.
    """

    network: RandomNetwork
    x: Tensor
    latent: int
    weight_noise: int
    constant: bool = False

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """``(D + W,)``: first the noise of z, then that of the recognition and of the generative weights."""
        return (self.latent + self.weight_noise,)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """E_q[z] of the only layer, the expectation over the weights included, whatever the noise: ``[B, 1, 1, D]``."""
        return (self.network.expected(self.x)[:, None, None, : self.latent],)

    def sample(self, noise: Tensor) -> Tensor:
        """Noise ``[B, M, K, D + W]`` to samples of the same shape."""
        loc, scale = self.given(noise)
        return torch.cat([loc + scale * noise[..., : self.latent], noise[..., self.latent :]], dim=-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x, w): samples ``[B, M, K, D + W]`` to ``[B, M, K]``."""
        loc, scale = self.given(z)
        return normal_log_prob(z[..., : self.latent], loc, scale)

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return replace(self, constant=True)

    def given(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of z under the weights that came with it, each ``[B, M, K, D]``."""
        own = z[..., self.latent : self.latent + self.network.noise]
        loc, raw_scale = self.network(self.x[:, None, None], own).chunk(2, dim=-1)
        scale = softplus(raw_scale)
        return (loc.detach(), scale.detach()) if self.constant else (loc, scale)


class RandomWeights(BernoulliPixels):
    """Normal latents, Bernoulli pixels, one hidden tanh layer each way, weights drawn for every data point and sample.

    Args:
        pixels: dimension P of the data.
        hidden: width of the hidden layers.
        latent: dimension D of z.
        random: whose weights are drawn: of ``both`` networks or of the ``recognition`` network.
        initial_scale: see ``RandomWeightsOptions``.
    """

    def __init__(
        self, pixels: int, hidden: int, latent: int, random: Literal["both", "recognition"], initial_scale: float
    ) -> None:
        super().__init__()
        self.pixels, self.latent = pixels, latent
        self.encoder = RandomNetwork(pixels, hidden, 2 * latent, initial_scale)
        self.decoder: RandomNetwork | FixedNetwork
        if random == "both":
            self.decoder = RandomNetwork(latent, hidden, pixels, initial_scale)
        else:
            self.decoder = FixedNetwork(latent, hidden, pixels)

    def encode(self, x: Tensor) -> RandomProposal:
        """Data ``[B, P]`` to the proposal of latents and weights."""
        return RandomProposal(self.encoder, x, self.latent, self.encoder.noise + self.decoder.noise)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, z ``[B, M, K, D + W]`` to log p(x, z|w) ``[B, M, K]``."""
        return standard_normal_log_prob(z[..., : self.latent]) + bernoulli_log_prob(x, self._logits(z))

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z), without the noise behind it that stands for weights: ``[..., D + W]`` to ``[...]``."""
        return standard_normal_log_prob(z[..., : self.latent])

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:
        """KL(q(z|x, w), p(z)) under the weights that came with z, ``[B, M, K]``, nats."""
        loc, scale = posterior.given(z)  # type: ignore[attr-defined]
        return (0.5 * (loc.square() + scale.square() - 1) - scale.log()).sum(dim=-1)  # type: ignore[no-any-return]

    @property
    def prior_size(self) -> int:
        """``D + W``."""
        return self.latent + self.encoder.noise + self.decoder.noise

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means under the weights drawn with z: samples ``[..., D + W]`` to ``[..., P]``."""
        return torch.sigmoid(self._logits(z))

    def _logits(self, z: Tensor) -> Tensor:
        logits: Tensor = self.decoder(z[..., : self.latent], z[..., self.latent + self.encoder.noise :])
        return logits


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> RandomWeights:  # noqa: ARG001
    """A ``RandomWeights`` whose means start as torch's layers do, uniform within 1/sqrt(fan-in).

    Raises:
        SpecError: an invalid option, or real-valued data.
    """
    data.require_pixels("random-weights")
    parsed: RandomWeightsOptions = parse_options(RandomWeightsOptions, "random-weights", options)
    return RandomWeights(data.mean.shape[0], parsed.hidden, parsed.latent, parsed.random, parsed.initial_scale)
