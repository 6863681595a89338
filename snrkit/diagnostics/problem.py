"""What is drawn: a model, data points, noise, and the order of the parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from snrkit.errors import SpecError
from snrkit.models.base import LatentModel, Network
from snrkit.streams import Streams

# One page of noise has its own stream. Small enough that drawing a whole page for part of it wastes little, large enough
# that starting streams (about 15 us each) does not show.
_PAGE_ELEMENTS = 2**13


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
    def of(cls, model: LatentModel, x: Tensor) -> "Layout":
        """The layout of a model's trainable parameters that its log-weights depend on.

        Raises:
            SpecError: there is none.
            CapabilityError: a parameter belongs to both networks.
        """
        networks = model.networks(x)
        if not networks:
            raise SpecError("model", "has no trainable parameter that the log-weights depend on", "set requires_grad")
        shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
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

    def network_of(self, block: str) -> Network | None:
        """The network that a block lies in; None for ``all``."""
        if block in ("inference", "generative"):
            return block  # type: ignore[return-value]
        return self.networks[self.names.index(block)] if block in self.names else None


class Noise:
    """Standard normal noise, a pure function of (seed, M, K, group, draw).

    Whoever asks for draws in whatever portions gets the same numbers.

    Args:
        streams: the root of the numbers.
        unit_shape: noise of one draw of one group, ``(Bg, M, K, *noise_shape)``.
        dtype: floating-point type of the result.
        device: where.
    """

    def __init__(self, streams: Streams, unit_shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self._streams = streams
        self._shape = tuple(unit_shape)
        self._rows = max(1, _PAGE_ELEMENTS // math.prod(self._shape))
        self._dtype, self._device = dtype, device
        self._last: tuple[tuple[int, int], Tensor] | None = None

    def draw(self, group: int, draws: range) -> Tensor:
        """Noise ``[len(draws), Bg, M, K, *noise_shape]`` of consecutive draws of one group of data points."""
        first, last = draws.start // self._rows, (draws.stop - 1) // self._rows
        pages = (
            torch.cat([self._page(group, page) for page in range(first, last + 1)])
            if last > first
            else self._page(group, first)
        )
        offset = first * self._rows
        return pages[draws.start - offset : draws.stop - offset]

    def _page(self, group: int, page: int) -> Tensor:
        if self._last is None or self._last[0] != (group, page):
            index = (*self._shape[1:3], group, page)
            shape = (self._rows, *self._shape)
            noise = self._streams.normal("draws", index, shape, dtype=self._dtype, device=self._device)
            self._last = (group, page), noise
        return self._last[1]


class NestedNoise:
    """Noise of K-sample draws cut out of draws of ``groups`` K samples: each of those gives ``groups`` consecutive draws.

    Args:
        whole: noise of the larger draws, at M = 1.
        groups: how many parts each is cut into.
    """

    def __init__(self, whole: Noise, groups: int) -> None:
        self._whole, self._groups = whole, groups

    def draw(self, group: int, draws: range) -> Tensor:
        """Noise ``[len(draws), Bg, 1, K, *noise_shape]`` of consecutive draws of one group of data points."""
        first, last = draws.start // self._groups, (draws.stop - 1) // self._groups
        noise = self._whole.draw(group, range(first, last + 1))
        n, points, _, samples, *event = noise.shape
        parts = noise.view(n, points, self._groups, samples // self._groups, *event).transpose(1, 2)
        start = draws.start - first * self._groups
        return parts.reshape(n * self._groups, points, 1, -1, *event)[start : start + len(draws)]


@dataclass(frozen=True)
class Problem:
    """Gradient draws to make: G groups of Bg data points, each draw with M outer and K importance samples per point.

    The gradient of a group is that of the mean over its points. Unit draws have groups of one point and M = 1; direct
    draws have one group of all points.

    Attributes:
        model: the model, on the device of x.
        x: data ``[G, Bg, *event]``.
        noise: noise of shape ``[Bg, M, K, *noise_shape]`` per draw and group.
        layout: order of the parameters.
        M: outer samples.
        K: importance samples.
    """

    model: LatentModel
    x: Tensor
    noise: Noise | NestedNoise
    layout: Layout
    M: int
    K: int

    @classmethod
    def units(cls, model: LatentModel, x: Tensor, K: int, streams: Streams, groups: int = 1) -> "Problem":
        """Each data point by itself at M = 1, for data ``[B, *event]``, cut out of draws of ``groups`` K samples."""
        whole = cls._of(model, x[:, None], 1, K * groups, streams)
        if groups == 1:
            return whole
        return replace(whole, noise=NestedNoise(cast("Noise", whole.noise), groups), K=K)

    @classmethod
    def direct(cls, model: LatentModel, x: Tensor, M: int, K: int, streams: Streams) -> "Problem":
        """The whole minibatch at the requested M and K, for data ``[B, *event]``."""
        return cls._of(model, x[None], M, K, streams)

    @classmethod
    def _of(cls, model: LatentModel, x: Tensor, M: int, K: int, streams: Streams) -> "Problem":
        unit_shape = (x.shape[1], M, K, *model.noise_shape(x[0]))
        return cls(model, x, Noise(streams, unit_shape, x.dtype, x.device), Layout.of(model, x[0]), M, K)

    @property
    def groups(self) -> int:
        """G, the number of groups."""
        return self.x.shape[0]

    @property
    def samples_per_draw(self) -> int:
        """Importance samples in one draw of one group, Bg M K."""
        return self.x.shape[1] * self.M * self.K

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Name to parameter, in the order of the layout."""
        named = dict(self.model.named_parameters())
        return {name: named[name] for name in self.layout.names}
