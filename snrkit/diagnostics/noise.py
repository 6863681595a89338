"""The noise of draws: pure functions of which draw it is, in portions of any size."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from snrkit.core.objective import NoiseKind
from snrkit.core.streams import Streams, dreams_of

# The stream of each kind of noise; dreams have another beside each.
_PURPOSES: dict[NoiseKind, str] = {"shared": "draws", "own": "draws-inference"}
# One page of noise, of so many numbers, has its own stream. Small enough that drawing a whole page for part of it wastes
# little, large enough that starting streams (15 to 44 us each) does not show: a GPU draws a large page in less than that.
_PAGE_ELEMENTS = 2**13
_PAGE_ELEMENTS_OF = {"cuda": 2**22}
# A draw of more numbers than that is made in portions of its samples, and made again when it is needed again.
_HELD = 2**25


def page_elements(device: torch.device) -> int:
    """Numbers in one page of noise there."""
    return _PAGE_ELEMENTS_OF.get(device.type, _PAGE_ELEMENTS)


def labels_of(device: torch.device) -> list[str]:
    """What names the numbers of a kind of device beside seed and job: nothing where they are as they always were."""
    size = page_elements(device)
    return [] if size == _PAGE_ELEMENTS else [f"pages of {size}"]


class Noise:
    """Standard normal noise, a pure function of (seed, M, K, group, draw).

    Whoever asks for draws in whatever portions gets the same numbers.

    Args:
        streams: the root of the numbers.
        unit_shape: noise of one draw of one group, ``(Bg, M, K, *noise_shape)``.
        dtype: floating-point type of the result.
        device: where.
        kind: whose noise.
        dreams: whether it is that of dreams.
        page: numbers in one page; None: as many as the kind of device has. Other pages are other numbers.
    """

    def __init__(
        self,
        streams: Streams,
        unit_shape: Sequence[int],
        dtype: torch.dtype,
        device: torch.device,
        kind: NoiseKind = "shared",
        dreams: bool = False,
        page: int | None = None,
    ) -> None:
        self._streams, self._purpose = streams, dreams_of(_PURPOSES[kind]) if dreams else _PURPOSES[kind]
        self._shape = tuple(unit_shape)
        self._rows = max(1, (page or page_elements(device)) // math.prod(self._shape))
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


class Beside:
    """Noise with that of dreams behind it, in one last axis.

    Args:
        own: of samples.
        dreams: of as many dreams.
    """

    def __init__(self, own: Noise, dreams: Noise) -> None:
        self._own, self._dreams = own, dreams

    @property
    def samples(self) -> int:
        """Samples of one point in a draw, M K."""
        return self._own.samples

    @property
    def held(self) -> bool:
        """Whether a draw is small enough to be held at once."""
        return self._own.held and self._dreams.held

    def draw(self, group: int, draws: range) -> Tensor:
        """Noise ``[len(draws), Bg, M, K, E + E_p]`` of consecutive draws of one group of data points."""
        return torch.cat([self._own.draw(group, draws), self._dreams.draw(group, draws)], dim=-1)

    def portions(self, group: int, draw: int, width: int, first: int = 0) -> Iterator[Tensor]:
        """The samples of one draw, ``width`` at a time: ``[Bg, 1, w, E + E_p]``."""
        both = (noise.portions(group, draw, width, first) for noise in (self._own, self._dreams))
        for own, dreams in zip(*both, strict=True):
            yield torch.cat([own, dreams], dim=-1)


class NestedNoise:
    """Noise of K-sample draws cut out of draws of ``groups`` K samples: each of those gives ``groups`` consecutive draws.

    Args:
        whole: noise of the larger draws, at M = 1.
        groups: how many parts each is cut into.
    """

    def __init__(self, whole: Noise | Beside, groups: int) -> None:
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
