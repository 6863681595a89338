"""What is drawn: a model, data points, noise, and the order of the parameters."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from snrkit.core.batches import Batch, leaves, points, take, transform
from snrkit.core.objective import NETWORKS, Network, NoiseKind
from snrkit.core.streams import Streams
from snrkit.diagnostics.noise import Beside, NestedNoise, Noise
from snrkit.diagnostics.seeding import Seeding
from snrkit.errors import SpecError
from snrkit.models.base import LatentModel
from snrkit.models.calling import parameters_of


@dataclass(frozen=True)
class Layout:
    """The parameters as one vector of P coordinates: the inference network's tensors first, then the generative's.

    Attributes:
        names: parameter names in that order.
        shapes: their shapes.
        networks: the network of each.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    networks: tuple[Network, ...]

    @classmethod
    def of(cls, model: LatentModel, x: Batch) -> "Layout":
        """The layout of a model's trainable parameters that its log-weights depend on.

        Raises:
            SpecError: there is none.
            CapabilityError: a parameter belongs to both networks.
        """
        networks = model.networks(x)
        if not networks:
            raise SpecError("model", "has no trainable parameter that the log-weights depend on", "set requires_grad")
        shapes = {name: parameter.shape for name, parameter in parameters_of(model).items()}
        order = sorted(networks, key=lambda name: networks[name] != "inference")
        return cls(tuple(order), tuple(shapes[name] for name in order), tuple(networks[name] for name in order))

    @property
    def size(self) -> int:
        """P, the number of coordinates."""
        return sum(math.prod(shape) for shape in self.shapes)

    @cached_property
    def blocks(self) -> dict[str, slice]:
        """Name of each block to its coordinates: the two networks, all, and every tensor. Empty networks are absent."""
        ends = [0]
        for shape in self.shapes:
            ends.append(ends[-1] + math.prod(shape))
        boundary = ends[sum(network == "inference" for network in self.networks)]
        networks = {"inference": slice(0, boundary), "generative": slice(boundary, ends[-1]), "all": slice(0, ends[-1])}
        tensors = {name: slice(ends[i], ends[i + 1]) for i, name in enumerate(self.names)}
        return {name: block for name, block in networks.items() if block.stop > block.start} | tensors

    @property
    def present(self) -> list[Network]:
        """The networks that have parameters here."""
        return list(dict.fromkeys(self.networks))

    def network_of(self, block: str) -> Network | None:
        """The network that a block lies in; None for ``all``."""
        if block in ("inference", "generative"):
            return block  # type: ignore[return-value]
        return self.networks[self.names.index(block)] if block in self.names else None


@dataclass(frozen=True)
class Problem:
    """Gradient draws to make: G groups of Bg data points, each draw with M outer and K importance samples per point.

    The gradient of a group is that of the mean over its points. Unit draws have groups of one point and M = 1; direct
    draws have one group of all points.

    Attributes:
        model: the model, on the device of x.
        x: data ``[G, Bg, *event]``, a tensor or a structure of tensors.
        noise: noise of shape ``[Bg, M, K, *noise_shape]`` per draw and group.
        layout: order of the parameters.
        M: outer samples.
        K: importance samples.
        planned: draws of each group in all, as far as is known; the choice of an engine depends on it.
        seeded: the numbers that the model draws itself, a function of the draw; None where it draws none.
        dreams: whether the noise of dreams stands behind that of samples.
    """

    model: LatentModel
    x: Batch
    noise: Noise | Beside | NestedNoise
    layout: Layout
    M: int
    K: int
    planned: int = 1000
    seeded: Seeding | None = None
    dreams: bool = False

    @classmethod
    def units(
        cls,
        model: LatentModel,
        x: Batch,
        K: int,
        streams: Streams,
        groups: int = 1,
        kind: NoiseKind = "shared",
        *,
        dreams: bool = False,
    ) -> "Problem":
        """Each data point by itself at M = 1, for data ``[B, *event]``, cut out of draws of ``groups`` K samples."""
        whole = cls._of(model, transform(x, lambda tensor: tensor[:, None]), 1, K * groups, streams, kind, dreams)
        if groups == 1:
            return whole
        return replace(whole, noise=NestedNoise(cast("Noise | Beside", whole.noise), groups), K=K)

    @classmethod
    def direct(
        cls,
        model: LatentModel,
        x: Batch,
        M: int,
        K: int,
        streams: Streams,
        kind: NoiseKind = "shared",
        *,
        dreams: bool = False,
    ) -> "Problem":
        """The whole minibatch at the requested M and K, for data ``[B, *event]``."""
        return cls._of(model, transform(x, lambda tensor: tensor[None]), M, K, streams, kind, dreams)

    @classmethod
    def _of(
        cls, model: LatentModel, x: Batch, M: int, K: int, streams: Streams, kind: NoiseKind, dreams: bool
    ) -> "Problem":
        first, like = take(x, 0), _like(model)
        shape = points(first), M, K
        noise: Noise | Beside = Noise(streams, (*shape, *model.noise_shape(first)), like.dtype, like.device, kind)
        if dreams:
            behind = Noise(streams, (*shape, model.dream_size), like.dtype, like.device, kind, dreams=True)
            noise = Beside(cast("Noise", noise), behind)
        return cls(model, x, noise, Layout.of(model, first), M, K, dreams=dreams)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the noise: that of the first parameter that is trained."""
        return self.like.dtype

    @property
    def device(self) -> torch.device:
        """Where all is."""
        return self.like.device

    @property
    def like(self) -> Tensor:
        """A tensor of the noise's type, where all is."""
        return _like(self.model)

    @property
    def groups(self) -> int:
        """G, the number of groups."""
        return points(self.x)

    @property
    def points_per_group(self) -> int:
        """Bg."""
        return next(leaves(self.x)).shape[1]

    @property
    def samples_per_draw(self) -> int:
        """Importance samples in one draw of one group, Bg M K."""
        return self.points_per_group * self.M * self.K

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Name to parameter, in the order of the layout."""
        named = parameters_of(self.model)
        return {name: named[name] for name in self.layout.names}

    @property
    def wanted(self) -> dict[Network, list[Tensor]]:
        """The parameters of each network that has any, in the order of the layout."""
        owners = list(zip(self.layout.networks, self.parameters.values(), strict=True))
        found = {network: [own for owner, own in owners if owner == network] for network in NETWORKS}
        return {network: own for network, own in found.items() if own}

    def samples_of(self, noise: Tensor) -> Tensor:
        """Of noise ``[..., E + E_p]`` what is behind samples, without that of dreams: ``[..., E]``."""
        return noise[..., : noise.shape[-1] - self.model.dream_size] if self.dreams else noise

    def group(self, index: int) -> Batch:
        """Data of one group, ``[Bg, *event]``."""
        return take(self.x, index)


def _like(model: LatentModel) -> Tensor:
    return next(parameter for parameter in model.parameters() if parameter.requires_grad)
