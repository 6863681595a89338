"""A convolutional image model: strided convolutions to a normal latent, up-convolutions back to Bernoulli pixels."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from snrkit.core.streams import Streams
from snrkit.models.base import parse_options
from snrkit.models.densities import DiagonalNormal, bernoulli_log_prob, standard_normal_log_prob
from snrkit.models.standard import BernoulliPixels
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Positive, Spec


def _odd(value: int) -> int:
    if value % 2 == 0:
        raise ValueError("must be odd")
    return value


class ConvOptions(Spec):
    """Options of ``conv``.

    Attributes:
        channels: of the convolutions, each of which halves height and width; the decoder mirrors them.
        kernel: height and width of every kernel, odd.
        hidden: width of the layer between the convolutions and the latent, and of its mirror image.
        latent: dimension of z.
    """

    channels: Annotated[tuple[Positive, ...], Field(min_length=1)] = (32, 64)
    kernel: Annotated[Positive, AfterValidator(_odd)] = 5
    hidden: Positive = 256
    latent: Positive = 50


class Conv(BernoulliPixels):
    """Encoder convolutions-hidden-(mean, scale), decoder latent-hidden-up-convolutions, ReLU between them.

    The model is unconditional: the up-convolutions are those of Dosovitskiy et al. 2015, whose network renders a given chair
    from a given view, while here all that an image is made of is its latent. An up-convolution puts every entry to the top
    left of a 2 x 2 block of zeros and convolves; that is the transposed convolution of stride 2 with the kernel turned
    round. No layer normalises over the batch and none draws masks, so data points are independent. With 28 x 28 pixels and
    its options left out it has 1,751,909 parameters.

    Args:
        shape: height and width of the images, ``P`` pixels.
        channels: of the convolutions, from the data on.
        kernel: height and width of the kernels, odd.
        hidden: width of the hidden layer.
        latent: dimension D of z.
    """

    def __init__(
        self, shape: tuple[int, int], channels: tuple[int, ...], kernel: int, hidden: int, latent: int
    ) -> None:
        super().__init__()
        self.shape, self.pixels, self.latent = shape, math.prod(shape), latent
        widths, sizes = (
            (1, *channels),
            list(itertools.accumulate(channels, lambda size, _: _halved(size), initial=shape)),
        )
        self.bottom = (channels[-1], *sizes[-1])
        flat = math.prod(self.bottom)
        self.down = nn.Sequential(
            *itertools.chain.from_iterable(
                (nn.Conv2d(one, other, kernel, stride=2, padding=kernel // 2), nn.ReLU())
                for one, other in itertools.pairwise(widths)
            )
        )
        self.encoder = nn.Sequential(nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, flat), nn.ReLU())
        self.up = nn.Sequential(*_up(widths[::-1], sizes[::-1], kernel))

    def encode(self, x: Tensor) -> DiagonalNormal:
        """Data ``[B, P]`` to a normal proposal over D latents."""
        features = self.down(x.view(-1, 1, *self.shape)).flatten(1)
        loc, raw_scale = self.encoder(features).chunk(2, dim=-1)
        return DiagonalNormal(loc, softplus(raw_scale))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        return standard_normal_log_prob(z) + bernoulli_log_prob(x, self._logits(z))

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means: z ``[..., D]`` to ``[..., P]``."""
        return torch.sigmoid(self._logits(z))

    def _logits(self, z: Tensor) -> Tensor:
        images: Tensor = self.up(self.decoder(z).reshape(-1, *self.bottom))
        return images.reshape(*z.shape[:-1], self.pixels)


def _halved(size: tuple[int, int]) -> tuple[int, int]:
    """Of height and width, what a convolution of stride 2 leaves."""
    height, width = size
    return (height + 1) // 2, (width + 1) // 2


def _up(widths: Sequence[int], sizes: Sequence[tuple[int, int]], kernel: int) -> list[nn.Module]:
    """Up-convolutions through these channels and sizes, deepest first, with ReLU between them."""
    layers: list[nn.Module] = []
    for one, other, size in zip(widths, widths[1:], sizes[1:], strict=False):
        # Of an odd size the last row or column is left off.
        added = 1 - size[0] % 2, 1 - size[1] % 2
        layers += [nn.ConvTranspose2d(one, other, kernel, 2, kernel // 2, output_padding=added), nn.ReLU()]
    return layers[:-1]


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Conv:  # noqa: ARG001
    """A ``Conv`` with torch's default initialisation.

    Raises:
        SpecError: an invalid option, real-valued data, or rows that are no images of a known height and width.
    """
    data.require_pixels("conv")
    parsed: ConvOptions = parse_options(ConvOptions, "conv", options)
    return Conv(data.require_image("conv"), parsed.channels, parsed.kernel, parsed.hidden, parsed.latent)
