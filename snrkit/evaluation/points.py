"""The test points that measurements are made on, with a label that names them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snrkit.data.base import Dataset
from snrkit.data.binarise import test_points
from snrkit.errors import SpecError
from snrkit.specs.given import whole
from snrkit.specs.run import DataSpec, RunSpec


def named_points(
    dataset: Dataset, spec: RunSpec, device: torch.device, count: int | None, argument: str = "data_points"
) -> tuple[Tensor, str]:
    """The first ``count`` test points (None: all), ``[count, P]``, binarised as the spec says, and their label.

    Args:
        dataset: where they are from.
        spec: how they are binarised.
        device: where they go.
        count: how many.
        argument: what the caller calls that number.

    Raises:
        SpecError: there are not that many, or fewer than one.
    """
    available = len(dataset.test)
    count = None if count is None else whole(argument, count, 1, "ask for some")
    if count is not None and count > available:
        raise SpecError(argument, f"{count} asked for, and the test set has {available}", "ask for fewer")
    stop = available if count is None else count
    data = spec.data
    x = test_points(dataset, data, getattr(torch, spec.dtype), device, slice(0, stop))
    return x, described(dataset, data, f"test[0:{stop}]")["data"]


def chosen_points(dataset: Dataset, spec: RunSpec, device: torch.device, points: Sequence[int]) -> tuple[Tensor, str]:
    """Test points by their numbers, ``[len(points), P]``, binarised as the spec says, and their label.

    Raises:
        SpecError: there is no such point.
    """
    available = len(dataset.test)
    unknown = [point for point in points if not 0 <= point < available]
    if unknown:
        raise SpecError("points", f"there is no test point {unknown[0]}", f"choose from 0 to {available - 1}")
    data = spec.data
    x = test_points(dataset, data, getattr(torch, spec.dtype), device, list(points))
    return x, described(dataset, data, f"test[{','.join(map(str, points))}]")["data"]


def described(dataset: Dataset, data: DataSpec, part: str) -> dict[str, str]:
    """What tables say of data points, by column: the label, and what it is made of.

    Args:
        dataset: the data.
        data: their source, and how they are made binary.
        part: which of them.
    """
    title, binarised = dataset.label or data.name, f"{data.binarise} seed {data.seed}"
    label = f"{title}:{part} {binarised}"
    return {"data": label, "data_name": data.name, "data_title": title, "part": part, "binarised": binarised}
