"""Batches of data points: a tensor, or tuples, lists and dicts of tensors, whose first axis is the data point.

Labels, masks and lengths travel with their images: every function here treats all tensors of a batch alike and keeps the
structure, so that a model gets what its user gave.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

# A tensor, or a (nested) tuple, list or dict of them.
Batch = Any


def leaves(x: Batch) -> Iterator[Tensor]:
    """The tensors of a batch, in order; dicts in the order of their keys."""
    if isinstance(x, Tensor):
        yield x
        return
    for part in x.values() if isinstance(x, dict) else x:
        yield from leaves(part)


def named_leaves(x: Batch, place: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a batch with their places in it, e.g. ``['label']`` or ``[0]``."""
    if isinstance(x, Tensor):
        yield place, x
        return
    for key, part in x.items() if isinstance(x, dict) else enumerate(x):
        yield from named_leaves(part, f"{place}[{key!r}]")


def transform(x: Batch, change: Callable[[Tensor], Any]) -> Batch:
    """The same structure with every tensor changed."""
    if isinstance(x, Tensor):
        return change(x)
    if isinstance(x, dict):
        return type(x)((key, transform(part, change)) for key, part in x.items())
    parts = [transform(part, change) for part in x]
    return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)


def points(x: Batch) -> int:
    """B, the number of data points."""
    return next(leaves(x)).shape[0]


def take(x: Batch, index: Any) -> Batch:
    """The data points of an index, slice, or tensor of indices; an integer takes the axis away."""
    return transform(x, lambda tensor: tensor[index])


def broadcastable(x: Batch) -> Batch:
    """Data ``[B, *event]`` as ``[B, 1, 1, *event]``, ready to broadcast against samples ``[B, M, K, D]``."""
    return transform(x, lambda tensor: tensor[:, None, None])


def repeated(x: Batch, times: int) -> Batch:
    """One data point ``[1, *event]`` as ``[times, *event]``, without a copy."""
    return transform(x, lambda tensor: tensor.expand(times, *tensor.shape[1:]))


def on(x: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """The same on a device; floating-point numbers in the given type, integers and booleans as they are."""
    return transform(x, lambda tensor: tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device))


def describe(x: Batch) -> str:
    """Shapes for a message, e.g. ``float32[4, 784]`` or ``{'image': float32[4, 784], 'label': int64[4]}``."""
    if isinstance(x, Tensor):
        return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
    if isinstance(x, dict):
        return "{" + ", ".join(f"{key!r}: {describe(part)}" for key, part in x.items()) + "}"
    inside = ", ".join(describe(part) for part in x)
    return f"[{inside}]" if isinstance(x, list) else f"({inside})"
