"""The one-layer image model of the IWAE papers: tanh networks, normal latent, Bernoulli pixels."""

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from snrkit.core.streams import Streams
from snrkit.models.activations import Tanh
from snrkit.models.base import parse_options
from snrkit.models.densities import DiagonalNormal, bernoulli_log_prob, standard_normal_log_prob
from snrkit.models.standard import BernoulliPixels
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Positive, Spec


class MlpOptions(Spec):
    """Options of ``mlp``.

    Attributes:
        hidden: widths of the hidden layers, from the data to the latent; the decoder mirrors them.
        latent: dimension of z.
    """

    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (200, 200)
    latent: Positive = 50


class Mlp(BernoulliPixels):
    """Encoder pixels-hidden-(mean, scale), decoder latent-hidden-pixels (Burda et al. 2016, one stochastic layer).

    The scale is softplus of a linear output, the prior standard normal. With 784 pixels, hidden (200, 200) and latent 50
    it has 425,284 parameters; with hidden (400, 400) and latent 20, 973,624.

    Args:
        pixels: dimension P of the data.
        hidden: widths of the hidden layers, encoder order.
        latent: dimension D of z.
    """

    def __init__(self, pixels: int, hidden: tuple[int, ...], latent: int) -> None:
        super().__init__()
        self.pixels, self.latent = pixels, latent
        self.encoder = tanh_network([pixels, *hidden, 2 * latent])
        self.decoder = tanh_network([latent, *reversed(hidden), pixels])

    def encode(self, x: Tensor) -> DiagonalNormal:
        """Data ``[B, P]`` to a normal proposal over D latents."""
        loc, raw_scale = self.encoder(x).chunk(2, dim=-1)
        return DiagonalNormal(loc, softplus(raw_scale))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.decoder(z))

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means: z ``[..., D]`` to ``[..., P]``."""
        return torch.sigmoid(self.decoder(z))


def tanh_network(widths: list[int]) -> nn.Sequential:
    """Linear layers of the given widths, input first, with tanh between them."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), Tanh()]
    return nn.Sequential(*layers[:-1])


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Mlp:  # noqa: ARG001
    """An ``Mlp`` with torch's default initialisation: uniform within 1/sqrt(fan-in).

    Raises:
        SpecError: an invalid option, or real-valued data.
    """
    data.require_pixels("mlp")
    parsed: MlpOptions = parse_options(MlpOptions, "mlp", options)
    return Mlp(data.mean.shape[0], parsed.hidden, parsed.latent)
