"""The sigmoid belief network of Saul et al. 1996, as a Helmholtz machine (Dayan et al. 1995): layers of bits both ways."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from snrkit.core.logweights import widened
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError
from snrkit.models.base import Posterior, parse_options
from snrkit.models.densities import bernoulli_log_prob
from snrkit.models.draw import Draw, Drawn
from snrkit.models.mlp import tanh_network
from snrkit.models.standard import BernoulliPixels
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Positive, Spec

Network = Callable[[Tensor], Tensor]


class SbnOptions(Spec):
    """Options of ``sbn``.

    Attributes:
        widths: units of each stochastic layer, from the data upwards.
        nonlinear: widths of tanh layers between neighbouring stochastic layers, from the data upwards; none: linear.
        centre: whether the inference network sees the data less their mean over the training set.
    """

    widths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (200, 200, 200)
    nonlinear: tuple[Positive, ...] = ()
    centre: bool = False


@dataclass(frozen=True)
class LayeredBernoulli(Drawn):
    """q(z|x) = q(h_1|x) q(h_2|h_1) ..., independent bits in each layer; z holds all layers in a row.

    Attributes:
        logits: log-odds of the first layer, ``[B, D_1]``.
        networks: for each further layer, from the bits of the one below to its log-odds.
        widths: D_1, D_2, ...
        constant: hold the parameters constant; nothing is left then, for bits have no path.
    """

    logits: Tensor
    networks: tuple[Network, ...]
    widths: tuple[int, ...]
    constant: bool = False

    reparameterised: ClassVar[bool] = False
    no_path: ClassVar[str] = "that of sbn is discrete"

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(D_1 + D_2 + ...,)``."""
        return (sum(self.widths),)

    def draw(self, noise: Tensor, path: bool) -> Draw:
        """Of noise ``[B, M, K, D]``: bits are constants, so all that log q has of the parameters is the score."""
        layers, logits = self._upwards(noise)
        log_q = _log_prob(layers, logits)
        return Draw(torch.cat(layers, dim=-1), log_q, log_q.detach() if path else None)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) of bits ``[B, M, K, D]``: ``[B, M, K]``."""
        layers = _layers(z, self.widths)
        further = [network(below) for network, below in zip(self.networks, layers, strict=False)]
        value = _log_prob(layers, [self._first, *further])
        return value.detach() if self.constant else value

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return replace(self, constant=True)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """Probabilities: noise ``[B, M, K, D]`` to ``[B, 1, 1, D_1]``, then ``[B, M, K, D_l]`` for every further layer."""
        return tuple(torch.sigmoid(logits) for logits in self._upwards(noise)[1])

    @property
    def _first(self) -> Tensor:
        return self.logits[:, None, None]

    def _upwards(self, noise: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Bits of each layer and their log-odds."""
        layers: list[Tensor] = []
        logits = [self._first]
        for network, part in itertools.zip_longest(self.networks, _layers(noise, self.widths)):
            layers.append(bits(logits[-1], part))
            if network is not None:
                logits.append(network(layers[-1]))
        return layers, logits


class Sbn(BernoulliPixels):
    """x - h_1 - ... - h_L, bits all of them: the inference network goes up layer by layer, the generative one down.

    p(x, z) = p(h_L) p(h_{L-1}|h_L) ... p(x|h_1), independent bits given the layer above, and p(h_L) has log-odds of its own.
    With 784 pixels and widths (200, 200, 200) it has 475,584 parameters.

    A bit is on where Phi(noise) lies below its probability. Two engines whose log-odds differ by a rounding of float32 now
    and then turn another bit, and that one draw is then another one; moments agree, and float64 agrees draw by draw.

    Args:
        pixels: dimension P of the data.
        widths: units of each stochastic layer, from the data upwards.
        nonlinear: widths of tanh layers between neighbouring stochastic layers, from the data upwards.
        mean: what the inference network subtracts from the data, ``[P]``; None: nothing.
    """

    mean: Tensor | None

    def __init__(
        self, pixels: int, widths: tuple[int, ...], nonlinear: tuple[int, ...] = (), mean: Tensor | None = None
    ) -> None:
        super().__init__()
        self.pixels, self.latent, self.widths = pixels, sum(widths), widths
        sizes = list(itertools.pairwise([pixels, *widths]))
        self.recognition = nn.ModuleList(tanh_network([low, *nonlinear, high]) for low, high in sizes)
        self.generative = nn.ModuleList(tanh_network([high, *reversed(nonlinear), low]) for low, high in sizes)
        self.top = nn.Parameter(torch.zeros(widths[-1]))
        self.register_buffer("mean", mean)

    def encode(self, x: Tensor) -> LayeredBernoulli:
        """Data ``[B, P]`` to the proposal over all layers."""
        first, *further = self.recognition
        return LayeredBernoulli(first(x if self.mean is None else x - self.mean), tuple(further), self.widths)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, bits z ``[B, M, K, D]`` to ``[B, M, K]``."""
        return bernoulli_log_prob(x, self.generative[0](z[..., : self.widths[0]])) + self.log_prior(z)

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(h_L) + ... + log p(h_1|h_2): ``[..., D]`` to ``[...]``."""
        layers = _layers(z, self.widths)
        further = [network(above) for network, above in zip(self._downwards[:-1], reversed(layers[1:]), strict=True)]
        return _log_prob(list(reversed(layers)), [self.top, *further])

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:  # noqa: ARG002
        """Refused: bits of neighbouring layers depend on one another, and in one layer too.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError(
            "kl", "that of layers of bits has no closed form", "choose rloo, which estimates the same"
        )

    @torch.no_grad()
    def from_prior(self, noise: Tensor) -> Tensor:
        """Bits from the top downwards: noise ``[..., D]`` to z ``[..., D]``."""
        *rest, top = _layers(noise, self.widths)
        layers = [bits(self.top, top)]
        for network, part in zip(self._downwards[:-1], reversed(rest), strict=True):
            layers.insert(0, bits(network(layers[0]), part))
        return torch.cat(layers, dim=-1)

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means, which depend on the first layer alone: bits z ``[..., D]`` to ``[..., P]``."""
        return torch.sigmoid(self.generative[0](z[..., : self.widths[0]]))

    @property
    def _downwards(self) -> list[nn.Module]:
        return list(reversed(self.generative))


def bits(logits: Tensor, noise: Tensor) -> Tensor:
    """1 where Phi(noise) lies below sigmoid(logits), else 0, in the type of the noise, without a graph."""
    with torch.no_grad():
        on: Tensor = torch.special.ndtr(widened(noise)) < torch.sigmoid(widened(logits))
        return on.to(noise.dtype)


def _layers(z: Tensor, widths: tuple[int, ...]) -> list[Tensor]:
    """``[..., D]`` to ``[..., D_l]`` of each layer."""
    return list(torch.split(z, list(widths), dim=-1))


def _log_prob(layers: list[Tensor], logits: list[Tensor]) -> Tensor:
    """Of all layers together, ``[...]``."""
    return torch.stack([bernoulli_log_prob(*pair) for pair in zip(layers, logits, strict=True)]).sum(dim=0)


def build(options: Mapping[str, object], data: DataSummary, streams: Streams) -> Sbn:  # noqa: ARG001
    """An ``Sbn`` with torch's default initialisation, uniform within 1/sqrt(fan-in), and even odds of the top layer.

    Raises:
        SpecError: an invalid option, or real-valued data.
    """
    data.require_pixels("sbn")
    parsed: SbnOptions = parse_options(SbnOptions, "sbn", options)
    mean = data.mean.to(torch.get_default_dtype()) if parsed.centre else None
    return Sbn(data.mean.shape[0], parsed.widths, parsed.nonlinear, mean)
