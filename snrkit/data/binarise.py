"""Grey values to binary pixels, and data points as the training loop and the measurements want them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from snrkit.core.streams import Streams
from snrkit.data import binarisation
from snrkit.data.base import Array, Dataset
from snrkit.specs.base import Binarise
from snrkit.specs.run import DataSpec

CPU = torch.device("cpu")


def to_device(array: Array, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Copy an array to a device: uint8 stays uint8 (a quarter of the memory), floats become ``dtype``."""
    return torch.tensor(array, dtype=torch.uint8 if array.dtype == "uint8" else dtype, device=device)


def binarise(
    grey: Tensor, mode: Binarise, streams: Streams, purpose: str, index: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """Turn grey values into binary pixels.

    Args:
        grey: uint8 in 0..255 or floats in [0, 1], of any shape; under ``none`` any numbers.
        mode: ``dynamic`` and ``fixed``: a pixel is 1 with probability equal to its grey value; ``threshold``: 1 if the grey
            value is at least 0.5 (uint8: 128); ``none``: the grey value itself, in [0, 1], or the number as it is.
        streams: where the random numbers come from.
        purpose: name of the stream.
        index: index within the stream; the caller sees to it that ``fixed`` always meets the same one.
        dtype: floating-point type of the result.

    Returns:
        Like ``grey``, of ``dtype``; 0 or 1 except under ``none``.
    """
    level = grey.to(dtype) / 255 if grey.dtype == torch.uint8 else grey.to(dtype)
    if mode == "none":
        return level
    if mode == "threshold":
        return (level >= 0.5).to(dtype)
    # Uniform on [0, 1): level 1 is always on, level 0 never. float32 whatever ``dtype``, and levels rounded to it, so that
    # float32 and float64 runs see the same pixels; its 2^24 steps are plenty for grey values.
    uniform = streams.uniform(purpose, index, grey.shape, dtype=torch.float32, device=grey.device)
    return (uniform < level.to(torch.float32)).to(dtype)


class Batches:
    """The training points on a device, handed out as minibatches.

    Under ``dynamic`` each step draws its pixels afresh from the run's streams. Under ``fixed`` they are drawn once, from the
    spec's own seed and on the CPU, so that every run with this spec sees the same images on whatever device.

    Args:
        dataset: the data.
        spec: how to binarise, and the seed of ``fixed``.
        streams: the run's streams.
        dtype: floating-point type of the batches.
        device: where the points are kept and the batches are made.
    """

    def __init__(
        self, dataset: Dataset, spec: DataSpec, streams: Streams, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._streams = streams
        self._dtype = dtype
        self._mode = binarisation(spec, dataset.kind)
        if self._mode == "fixed":
            once = to_device(dataset.train, CPU, torch.float32)
            pixels = binarise(once, "fixed", Streams(spec.seed), "binarise-train", (), torch.float32)
            self._points = pixels.to(device, torch.bool)
        else:
            self._points = to_device(dataset.train, device, dtype)

    def __len__(self) -> int:
        """Number of training points."""
        return len(self._points)

    def under(self, streams: Streams) -> Batches:
        """The same points, kept once, for another run: batches are drawn from its streams.

        Args:
            streams: the other run's streams.
        """
        other = copy.copy(self)
        other._streams = streams
        return other

    def train_batch(self, index: Tensor, step: int) -> Tensor:
        """The points of one step.

        Args:
            index: int64 [B], rows of the training set, on any device.
            step: number of the step, which keys the dynamic binarisation.

        Returns:
            [B, D], of the type and on the device given at the start.
        """
        points = self._points[index.to(self._points.device)]
        if self._mode == "fixed":
            return points.to(self._dtype)
        return binarise(points, self._mode, self._streams, "binarise-batch", (step,), self._dtype)


def test_points(
    dataset: Dataset, spec: DataSpec, dtype: torch.dtype, device: torch.device, select: slice | Sequence[int] | Tensor
) -> Tensor:
    """Some of the test points, binarised.

    The whole test set is binarised once from ``spec.seed``, on the CPU, before the selection: point i is the same image
    whichever points are asked for, on every device and in every floating-point type.

    Args:
        dataset: the data.
        spec: how to binarise, and the seed.
        dtype: floating-point type of the result.
        device: where the result goes.
        select: rows of the test set.

    Returns:
        [n, D].
    """
    mode = binarisation(spec, dataset.kind)
    points = binarise(to_device(dataset.test, CPU, dtype), mode, Streams(spec.seed), "binarise-test", (), dtype)
    return points[select].to(device)
