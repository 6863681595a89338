"""The image model with several stochastic layers of Burda et al. 2016: tanh networks, normal latents, Bernoulli pixels."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, SpecError
from snrkit.models.base import Posterior, parse_options
from snrkit.models.densities import DiagonalNormal, bernoulli_log_prob, normal_log_prob, standard_normal_log_prob
from snrkit.models.mlp import tanh_network
from snrkit.models.standard import BernoulliPixels
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Positive, Spec

_SCALES: dict[str, Callable[[Tensor], Tensor]] = {"softplus": softplus, "exp": torch.exp}


class HierarchicalOptions(Spec):
    """Options of ``hierarchical``.

    Attributes:
        latents: dimension of each stochastic layer, from the data upwards.
        hidden: for each of them, widths of the hidden layers below it, from the data upwards; the decoder mirrors them.
        scale: what makes a standard deviation of a linear output: ``softplus``, or ``exp`` as Burda et al. have it.
    """

    latents: Annotated[tuple[Positive, ...], Field(min_length=1)] = (100, 50)
    hidden: tuple[Annotated[tuple[Positive, ...], Field(min_length=1)], ...] = ((200, 200), (100, 100))
    scale: Literal["softplus", "exp"] = "softplus"


class NormalNetwork(nn.Module):
    """A tanh network to the mean and the standard deviation of independent normals.

    Args:
        widths: input, hidden layers, number of normals.
        scale: a key of ``softplus`` and ``exp``.
    """

    def __init__(self, widths: list[int], scale: str) -> None:
        super().__init__()
        self.body = tanh_network([*widths[:-1], 2 * widths[-1]])
        self.width = widths[-1]
        self._positive = _SCALES[scale]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``[..., in]`` to means and standard deviations, each ``[..., width]``."""
        loc, raw = self.body(x).chunk(2, dim=-1)
        return loc, self._positive(raw)


@dataclass(frozen=True)
class LayeredNormal:
    """q(z|x) = q(z_1|x) q(z_2|z_1) ..., normals whose parameters depend on the layer below; z holds all layers in a row.

    Attributes:
        loc: means of the first layer, ``[B, D_1]``.
        scale: its standard deviations, ``[B, D_1]``.
        networks: for each further layer, from a sample of the one below to its parameters.
        constant: hold the parameters of ``networks`` constant; the dependence on the layer below stays.
    """

    loc: Tensor
    scale: Tensor
    networks: tuple[NormalNetwork, ...]
    constant: bool = False

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(D_1 + D_2 + ...,)``."""
        return (sum(self._widths),)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """Noise ``[B, M, K, D]`` to ``[B, 1, 1, D_1]``, then ``[B, M, K, D_l]`` for every further layer l."""
        below = torch.split(self.sample(noise), self._widths, dim=-1)
        further = [self._given(network, part)[0] for network, part in zip(self.networks, below, strict=False)]
        return self.loc[:, None, None], *further

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised samples, layer by layer: noise ``[B, M, K, D]`` to z ``[B, M, K, D]``."""
        first, *rest = torch.split(noise, self._widths, dim=-1)
        parts = [self._first.sample(first)]
        for network, part in zip(self.networks, rest, strict=True):
            loc, scale = self._given(network, parts[-1])
            parts.append(loc + scale * part)
        return torch.cat(parts, dim=-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x): z ``[B, M, K, D]`` to ``[B, M, K]``."""
        parts = torch.split(z, self._widths, dim=-1)
        total = self._first.log_prob(parts[0])
        for network, (below, part) in zip(self.networks, itertools.pairwise(parts), strict=True):
            total = total + normal_log_prob(part, *self._given(network, below))
        return total

    def detached(self) -> Self:
        """The same density with its parameters held constant: all that is left is the path through z, of every layer."""
        return replace(self, loc=self.loc.detach(), scale=self.scale.detach(), constant=True)

    @property
    def _first(self) -> DiagonalNormal:
        return DiagonalNormal(self.loc, self.scale)

    @property
    def _widths(self) -> list[int]:
        return [self.loc.shape[-1], *(network.width for network in self.networks)]

    def _given(self, network: NormalNetwork, below: Tensor) -> tuple[Tensor, Tensor]:
        if not self.constant:
            return network(below)  # type: ignore[no-any-return]
        fixed = {name: parameter.detach() for name, parameter in network.named_parameters()}
        return torch.func.functional_call(network, fixed, (below,))  # type: ignore[no-any-return]


class Hierarchical(BernoulliPixels):
    """x - z_1 - ... - z_L: the encoder goes up layer by layer, the decoder down from a standard normal z_L.

    q(z|x) = q(z_1|x) q(z_2|z_1) ..., p(x, z) = p(z_L) ... p(z_1|z_2) p(x|z_1). With 784 pixels, latents (100, 50) and
    hidden ((200, 200), (100, 100)) it is the two-layer model of Burda et al. 2016, with 521,084 parameters.

    Args:
        pixels: dimension P of the data.
        latents: dimension of each stochastic layer, from the data upwards.
        hidden: widths of the hidden layers below each of them, from the data upwards.
        scale: ``softplus`` or ``exp``.
    """

    def __init__(
        self, pixels: int, latents: tuple[int, ...], hidden: tuple[tuple[int, ...], ...], scale: str = "softplus"
    ) -> None:
        super().__init__()
        self.pixels, self.latent = pixels, sum(latents)
        self._latents = list(latents)
        steps = list(zip(itertools.pairwise([pixels, *latents]), hidden, strict=True))
        self.encoder = nn.ModuleList(NormalNetwork([low, *between, high], scale) for (low, high), between in steps)
        self.prior = nn.ModuleList(
            NormalNetwork([high, *reversed(between), low], scale) for (low, high), between in steps[1:]
        )
        self.decoder = tanh_network([latents[0], *reversed(hidden[0]), pixels])

    def encode(self, x: Tensor) -> LayeredNormal:
        """Data ``[B, P]`` to the proposal over all layers."""
        first, *rest = self.encoder
        loc, scale = first(x)
        return LayeredNormal(loc, scale, tuple(rest))  # type: ignore[arg-type]

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, P]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        layers = torch.split(z, self._latents, dim=-1)
        total = standard_normal_log_prob(layers[-1]) + bernoulli_log_prob(x, self.decoder(layers[0]))
        for network, (low, high) in zip(self.prior, itertools.pairwise(layers), strict=True):
            total = total + normal_log_prob(low, *network(high))
        return total

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z_L) + ... + log p(z_1|z_2): ``[..., D]`` to ``[...]``."""
        layers = torch.split(z, self._latents, dim=-1)
        total = standard_normal_log_prob(layers[-1])
        for network, (low, high) in zip(self.prior, itertools.pairwise(layers), strict=True):
            total = total + normal_log_prob(low, *network(high))
        return total

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:  # noqa: ARG002
        """Refused: the layers of prior and proposal depend on one another in opposite directions.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError("kl", "that of layers has no closed form", "choose vae, which estimates it")

    def from_prior(self, noise: Tensor) -> Tensor:
        """Samples from the top downwards: noise ``[..., D]`` to z ``[..., D]``."""
        *rest, top = torch.split(noise, self._latents, dim=-1)
        layers = [top]
        for network, part in zip(reversed(self.prior), reversed(rest), strict=True):
            loc, scale = network(layers[0])
            layers.insert(0, loc + scale * part)
        return torch.cat(layers, dim=-1)

    def regenerate(self, z: Tensor) -> Tensor:
        """Each layer made anew of the one above it, from the top downwards: ``[..., D]``."""
        *rest, top = torch.split(z, self._latents, dim=-1)
        layers = [top]
        for network, part in zip(reversed(self.prior), reversed(rest), strict=True):
            loc, scale = network(layers[0])
            layers.insert(0, loc + scale * ((part - loc) / scale).detach())
        return torch.cat(layers, dim=-1)

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means, which depend on the first layer alone: z ``[..., D]`` to ``[..., P]``."""
        return torch.sigmoid(self.decoder(z[..., : self._latents[0]]))


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Hierarchical:  # noqa: ARG001
    """A ``Hierarchical`` with torch's default initialisation: uniform within 1/sqrt(fan-in).

    Raises:
        SpecError: an invalid option, or real-valued data.
    """
    data.require_pixels("hierarchical")
    parsed: HierarchicalOptions = parse_options(HierarchicalOptions, "hierarchical", options)
    if len(parsed.hidden) != len(parsed.latents):
        problem = f"{len(parsed.hidden)} lists of widths for {len(parsed.latents)} stochastic layers"
        raise SpecError("hierarchical.hidden", problem, "give one for each of hierarchical.latents")
    return Hierarchical(data.mean.shape[0], parsed.latents, parsed.hidden, parsed.scale)
