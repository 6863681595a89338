"""A linear encoder and a linear decoder of pixels."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from snrkit import DiagonalNormal, LatentModel, bernoulli_log_prob, standard_normal_log_prob
from snrkit.core.streams import Streams
from snrkit.models.base import parse_options
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Spec


class LinearOptions(Spec):
    """Options of ``linear``.

    Attributes:
        latent: dimension of z.
    """

    latent: Annotated[int, Field(ge=1)] = 2


class Linear(LatentModel):
    """z ~ N(0, I), logits of the pixels W z + c; q(z|x) = N(V x + b, diag(s^2)) with one s for all x.

    Args:
        pixels: dimension P of the data.
        latent: dimension of z.
    """

    def __init__(self, pixels: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Linear(pixels, latent)
        self.log_scale = nn.Parameter(torch.zeros(latent))
        self.decoder = nn.Linear(latent, pixels)

    def encode(self, x: Tensor) -> DiagonalNormal:
        """Data ``[B, P]`` to the proposal."""
        loc = self.encoder(x)
        return DiagonalNormal(loc, self.log_scale.exp().expand_as(loc))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self.decoder(z))

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means, which ``snrkit reconstruct`` draws: z ``[..., D]`` to ``[..., P]``."""
        return torch.sigmoid(self.decoder(z))


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Linear:  # noqa: ARG001
    """A ``Linear`` with torch's default initialisation.

    Raises:
        SpecError: an invalid option, or real-valued data.
    """
    data.require_pixels("linear")
    parsed: LinearOptions = parse_options(LinearOptions, "linear", options)
    return Linear(data.mean.shape[0], parsed.latent)
