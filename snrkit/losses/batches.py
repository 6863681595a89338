"""What a loss is called with, which may be of any kind: the tensors in it, and the same with other tensors."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from snrkit.models.inside import is_users


def tensors_of(batch: Any) -> list[Tensor]:
    """The dense tensors of a batch, which may hold anything else beside them."""
    if isinstance(batch, Tensor):
        return [batch] if batch.layout == torch.strided and not batch.is_nested else []
    return [tensor for _, part in _parts(batch) for tensor in tensors_of(part)]


def mapped(batch: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A batch of the same kind, with what a function makes of each of its tensors."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, list | tuple):
        items = [mapped(part, function) for part in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    parts = {name: mapped(part, function) for name, part in _parts(batch)}
    if not parts:
        return batch
    found = copy.copy(batch)
    for name, part in parts.items():
        if isinstance(batch, Mapping):
            found[name] = part
        else:
            object.__setattr__(found, name, part)
    return found


def _parts(batch: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(batch, Mapping):
        yield from batch.items()
    elif isinstance(batch, list | tuple):
        yield from enumerate(batch)
    elif is_dataclass(batch) and not isinstance(batch, type):
        yield from ((field.name, getattr(batch, field.name, None)) for field in fields(batch))
    elif is_users(batch, frozenset({"types"})):
        yield from getattr(batch, "__dict__", {}).items()
