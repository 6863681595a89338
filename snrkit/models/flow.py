"""The image model of ``mlp`` with a flow behind its proposal: planar or radial layers (Rezende & Mohamed 2015)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from snrkit.core.streams import Streams
from snrkit.models.base import Posterior, parse_options
from snrkit.models.densities import DiagonalNormal, bernoulli_log_prob, standard_normal_log_prob
from snrkit.models.flows import FlowNormal, Layer, Planar, Radial
from snrkit.models.mlp import tanh_network
from snrkit.models.standard import BernoulliPixels
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Count, Positive, Spec

_KINDS: dict[str, type[Layer]] = {"planar": Planar, "radial": Radial}


class FlowOptions(Spec):
    """Options of ``flow``.

    Attributes:
        kind: of the layers: ``planar`` (along a direction) or ``radial`` (about a centre).
        layers: how many of them; 0 is ``mlp``.
        hidden: widths of the hidden layers, from the data to the latent; the decoder mirrors them.
        latent: dimension of z.
    """

    kind: Literal["planar", "radial"] = "planar"
    layers: Count = 10
    hidden: Annotated[tuple[Positive, ...], Field(min_length=1)] = (200, 200)
    latent: Positive = 50


class Flow(BernoulliPixels):
    """Encoder pixels-hidden-(mean, scale, parameters of every layer), decoder and prior as those of ``mlp``.

    The flow is amortised: each data point has layers of its own. With 784 pixels, hidden (400, 400) and latent 40 it has
    1,322,474 parameters with 10 planar layers, 1,166,084 with 10 radial ones.

    Args:
        pixels: dimension P of the data.
        hidden: widths of the hidden layers, encoder order.
        latent: dimension D of z.
        layers: L, the number of layers of the flow.
        kind: what they are.
    """

    def __init__(self, pixels: int, hidden: tuple[int, ...], latent: int, layers: int, kind: type[Layer]) -> None:
        super().__init__()
        self.pixels, self.latent, self.layers, self.kind = pixels, latent, layers, kind
        self.encoder = tanh_network([pixels, *hidden, 2 * latent + layers * kind.size(latent)])
        self.decoder = tanh_network([latent, *reversed(hidden), pixels])

    def encode(self, x: Tensor) -> Posterior:
        """Data ``[B, P]`` to a proposal over D latents; without layers it is the normal one of ``mlp``."""
        out = self.encoder(x)
        loc, raw_scale, raw = out.split([self.latent, self.latent, out.shape[-1] - 2 * self.latent], dim=-1)
        if not self.layers:
            return DiagonalNormal(loc, softplus(raw_scale))
        return FlowNormal(loc, softplus(raw_scale), raw.unflatten(-1, (self.layers, -1)), self.kind)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.decoder(z))

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means: z ``[..., D]`` to ``[..., P]``."""
        return torch.sigmoid(self.decoder(z))


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Flow:  # noqa: ARG001
    """A ``Flow`` with torch's default initialisation: uniform within 1/sqrt(fan-in).

    Raises:
        SpecError: an invalid option, or real-valued data.
    """
    data.require_pixels("flow")
    parsed: FlowOptions = parse_options(FlowOptions, "flow", options)
    return Flow(data.mean.shape[0], parsed.hidden, parsed.latent, parsed.layers, _KINDS[parsed.kind])
