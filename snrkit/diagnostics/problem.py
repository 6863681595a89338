"""What is drawn: a model, data points, noise, and the order of the parameters."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from snrkit.core.batches import Batch, leaves, points, take, transform
from snrkit.core.objective import NETWORKS, Network, NoiseKind
from snrkit.core.streams import Streams
from snrkit.diagnostics.seeding import Seeding
from snrkit.errors import SpecError
from snrkit.models.base import LatentModel, parameters_of

# The stream of each kind of noise.
_PURPOSES: dict[NoiseKind, str] = {"shared": "draws", "own": "draws-inference"}
# One page of noise has its own stream. Small enough that drawing a whole page for part of it wastes little, large enough
# that starting streams (about 15 us each) does not show.
_PAGE_ELEMENTS = 2**13
# A draw of more numbers than that is made in portions of its samples, and made again when it is needed again.
_HELD = 2**25


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


class Noise:
    """Standard normal noise, a pure function of (seed, M, K, group, draw).

    Whoever asks for draws in whatever portions gets the same numbers.

    Args:
        streams: the root of the numbers.
        unit_shape: noise of one draw of one group, ``(Bg, M, K, *noise_shape)``.
        dtype: floating-point type of the result.
        device: where.
        kind: whose noise.
    """

    def __init__(
        self,
        streams: Streams,
        unit_shape: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        kind: NoiseKind = "shared",
    ) -> None:
        self._streams, self._purpose = streams, _PURPOSES[kind]
        self._shape = tuple(unit_shape)
        self._rows = max(1, _PAGE_ELEMENTS // math.prod(self._shape))
        self._dtype, self._device = dtype, device
        self._last: tuple[tuple[int, int], Tensor] | None = None

    @property
    def samples(self) -> int:
        """Samples of one point in a draw, M K."""
        return self._shape[1] * self._shape[2]

    @property
    def held(self) -> bool:
        """Whether a draw is small enough to be held at once."""
        return math.prod(self._shape) <= _HELD

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

    def portions(self, group: int, draw: int, width: int, first: int = 0) -> Iterator[Tensor]:
        """The samples of one draw from ``first`` on, M and K as one axis, ``width`` at a time: ``[Bg, 1, w, *noise_shape]``.

        Where a draw is not ``held``, no more than a portion is.
        """
        points, M, K, *event = self._shape
        if self.held:
            whole = self.draw(group, range(draw, draw + 1)).reshape(points, 1, M * K, *event)
            yield from torch.split(whole[:, :, first:], width, dim=2)
            return
        rows = [self._rows_of(group, draw, point, width, first) for point in range(points)]
        for portion in zip(*rows, strict=True):
            yield torch.stack(portion)[:, None]

    def _rows_of(self, group: int, draw: int, point: int, width: int, first: int) -> Iterator[Tensor]:
        """Samples of one point, ``[w, *noise_shape]``: those of the points before it, and the first, are made and left."""
        points, M, K, *event = self._shape
        index = (M, K, group, draw)  # a draw of this size is a page
        pieces = self._streams.normal_rows(
            self._purpose, index, points * M * K, event, width, dtype=self._dtype, device=self._device
        )
        yield from _regrouped(pieces, range(point * M * K + first, (point + 1) * M * K), width)

    def _page(self, group: int, page: int) -> Tensor:
        if self._last is None or self._last[0] != (group, page):
            index = (*self._shape[1:3], group, page)
            shape = (self._rows, *self._shape)
            noise = self._streams.normal(self._purpose, index, shape, dtype=self._dtype, device=self._device)
            self._last = (group, page), noise
        return self._last[1]


def _regrouped(pieces: Iterator[Tensor], wanted: range, width: int) -> Iterator[Tensor]:
    """Some of the rows of the pieces, ``width`` at a time."""
    at, rest = 0, None
    for piece in pieces:
        own = piece[max(0, wanted.start - at) : max(0, wanted.stop - at)]
        at += len(piece)
        joined = own if rest is None else torch.cat([rest, own])
        whole = len(joined) // width * width
        if whole:
            yield from torch.split(joined[:whole], width)
        rest = joined[whole:]
        if at >= wanted.stop:
            break
    if rest is not None and len(rest):
        yield rest


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

    @property
    def held(self) -> bool:
        """Whether the larger draw is small enough to be held at once."""
        return self._whole.held

    def portions(self, group: int, draw: int, width: int, first: int = 0) -> Iterator[Tensor]:
        """The samples of one draw, ``width`` at a time: ``[Bg, 1, w, *noise_shape]``."""
        whole, part = divmod(draw, self._groups)
        left = self._whole.samples // self._groups
        for portion in self._whole.portions(group, whole, width, first + part * left):
            yield portion[:, :, :left]
            left -= portion.shape[2]
            if left <= 0:
                return


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
    """

    model: LatentModel
    x: Batch
    noise: Noise | NestedNoise
    layout: Layout
    M: int
    K: int
    planned: int = 1000
    seeded: Seeding | None = None

    @classmethod
    def units(
        cls, model: LatentModel, x: Batch, K: int, streams: Streams, groups: int = 1, kind: NoiseKind = "shared"
    ) -> "Problem":
        """Each data point by itself at M = 1, for data ``[B, *event]``, cut out of draws of ``groups`` K samples."""
        whole = cls._of(model, transform(x, lambda tensor: tensor[:, None]), 1, K * groups, streams, kind)
        if groups == 1:
            return whole
        return replace(whole, noise=NestedNoise(cast("Noise", whole.noise), groups), K=K)

    @classmethod
    def direct(
        cls, model: LatentModel, x: Batch, M: int, K: int, streams: Streams, kind: NoiseKind = "shared"
    ) -> "Problem":
        """The whole minibatch at the requested M and K, for data ``[B, *event]``."""
        return cls._of(model, transform(x, lambda tensor: tensor[None]), M, K, streams, kind)

    @classmethod
    def _of(cls, model: LatentModel, x: Batch, M: int, K: int, streams: Streams, kind: NoiseKind) -> "Problem":
        first = take(x, 0)
        unit_shape = (points(first), M, K, *model.noise_shape(first))
        like = _like(model)
        return cls(model, x, Noise(streams, unit_shape, like.dtype, like.device, kind), Layout.of(model, first), M, K)

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

    def group(self, index: int) -> Batch:
        """Data of one group, ``[Bg, *event]``."""
        return take(self.x, index)


def _like(model: LatentModel) -> Tensor:
    return next(parameter for parameter in model.parameters() if parameter.requires_grad)
