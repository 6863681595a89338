"""Windows of Gaussian filters, through which images are read and written to (Gregor et al. 2015, section 3.2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

# Beyond, in either direction, a filter is a single pixel or the whole side, to the last digit of float32; the exponential of
# a logarithm further out would be zero or infinite.
_LOG_VARIANCE = 20.0


@dataclass(frozen=True)
class Place:
    """Where windows are, in pixels counted from 1, each ``[...]``.

    Attributes:
        left: centre, from the left.
        top: centre, from the top.
        stride: from a filter to the next.
    """

    left: Tensor
    top: Tensor
    stride: Tensor

    @classmethod
    def stacked(cls, places: Sequence[Self]) -> Self:
        """Several as one, along a last axis."""
        return cls(
            *(torch.stack([vars(place)[name] for place in places], dim=-1) for name in ("left", "top", "stride"))
        )


@dataclass(frozen=True)
class Window:
    """A grid of N x N filters over an image of H x W pixels.

    Filters and pixels are counted from 1, and a side of N pixels is centred at (N + 1) / 2. Each filter is normalised over
    the pixels that there are, also where it lies far outside the image: it then holds to the border.

    Attributes:
        rows: F_Y, the filters over rows of pixels, ``[..., N, H]``; each sums to 1.
        columns: F_X, those over columns, ``[..., N, W]``.
        intensity: gamma, ``[..., 1, 1]``.
        place: where they are.
    """

    rows: Tensor
    columns: Tensor
    intensity: Tensor
    place: Place

    PARAMETERS: ClassVar[int] = 5

    @classmethod
    def of(cls, parameters: Tensor, size: int, shape: tuple[int, int]) -> Self:
        """Of (g~_X, g~_Y, log sigma^2, log delta~, log gamma), ``[..., 5]`` (eqs. 21-26).

        Args:
            parameters: centre, in [-1, 1] within the image; variance; stride, as a share of that of a window as large as the
                image; intensity.
            size: N. A single filter has stride 0.
            shape: (H, W).
        """
        across, down, log_variance, log_stride, log_intensity = parameters.unbind(dim=-1)
        height, width = shape
        spacing = (max(shape) - 1) / (size - 1) if size > 1 else 0.0
        stride = spacing * log_stride.exp()
        precision = 0.5 * (-log_variance.clamp(-_LOG_VARIANCE, _LOG_VARIANCE)).exp()
        left, top = (width + 1) / 2 * (across + 1), (height + 1) / 2 * (down + 1)

        def filters(centre: Tensor, side: int) -> Tensor:
            offset = torch.arange(1, size + 1, dtype=centre.dtype, device=centre.device) - size / 2 - 0.5
            mean = centre[..., None] + offset * stride[..., None]
            pixel = torch.arange(1, side + 1, dtype=centre.dtype, device=centre.device)
            return torch.softmax(-(pixel - mean[..., None]).square() * precision[..., None, None], dim=-1)

        rows, columns = filters(top, height), filters(left, width)
        return cls(rows, columns, log_intensity.exp()[..., None, None], Place(left, top, stride))

    def read(self, image: Tensor) -> Tensor:
        """gamma F_Y x F_X^T: pixels ``[..., H W]``, row by row, to ``[..., N N]``."""
        pixels = image.reshape(*image.shape[:-1], self.rows.shape[-1], self.columns.shape[-1])
        seen = self.rows @ pixels @ self.columns.transpose(-1, -2)
        return (self.intensity * seen).flatten(-2)

    def write(self, patch: Tensor) -> Tensor:
        """(1 / gamma) F_Y^T w F_X: a patch ``[..., N N]`` to what is added to the pixels, ``[..., H W]``."""
        size = self.rows.shape[-2]
        whole = self.rows.transpose(-1, -2) @ patch.reshape(*patch.shape[:-1], size, size) @ self.columns
        return (whole / self.intensity).flatten(-2)
