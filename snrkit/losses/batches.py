"""What a loss is called with, which may be of any kind: the tensors in it, and the same with other tensors."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from snrkit.models.inside import PLAIN, is_there, is_users


def tensors_of(batch: Any) -> list[Tensor]:
    """The dense tensors of a batch, which may hold anything else beside them, itself too."""
    return list(_tensors(batch, {}))


def _tensors(batch: Any, seen: dict[int, Any]) -> Iterator[Tensor]:
    if not is_there(batch):
        return
    if isinstance(batch, Tensor):
        yield from [batch] if batch.layout == torch.strided and not batch.is_nested else []
    elif not isinstance(batch, PLAIN) and id(batch) not in seen:
        seen[id(batch)] = batch
        for _, part in _parts(batch):
            yield from _tensors(part, seen)


def mapped(batch: Any, function: Callable[[Tensor], Tensor], known: dict[int, Any] | None = None) -> Any:
    """A batch of the same kind, with what a function makes of each of its tensors; ``known`` is what was made so far."""
    known = {} if known is None else known
    if not is_there(batch) or isinstance(batch, PLAIN) or id(batch) in known:
        return known.get(id(batch), batch)
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, list | tuple):
        items = [mapped(part, function, known) for part in batch]
        return type(batch)(*items) if hasattr(batch, "_fields") else type(batch)(items)
    if isinstance(batch, Mapping) and not isinstance(batch, dict):
        # A copy of it alone may keep its entries in the same place.
        return copy.deepcopy(batch, {id(tensor): function(tensor) for tensor in tensors_of(batch)})
    parts = list(_parts(batch))
    if not parts:
        return batch
    found = known[id(batch)] = copy.copy(batch)
    for name, part in parts:
        made = mapped(part, function, known)
        if isinstance(batch, Mapping):
            found[name] = made
        else:
            object.__setattr__(found, name, made)
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
