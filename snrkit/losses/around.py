"""What a loss reaches beside its arguments: modules, generators and tensors in its closure, its globals or its object."""

import functools
import random
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snrkit.models.inside import is_local

# Functions within functions.
_DEEPEST = 4
Found = nn.Module | Tensor | torch.Generator | np.random.Generator | np.random.RandomState | random.Random


def around(function: Callable[..., Any]) -> list[Found]:
    """Modules, tensors and random generators that a function refers to, itself or through functions that it calls."""
    found: dict[int, Found] = {}
    _look(function, found, set(), 0)
    return list(found.values())


def _look(value: Any, found: dict[int, Found], seen: set[int], depth: int) -> None:
    if id(value) in seen or depth > _DEEPEST:
        return
    seen.add(id(value))
    if isinstance(value, Found):
        found[id(value)] = value
    # Of a library's functions only the loss itself is looked into.
    if depth and isinstance(value, FunctionType) and not is_local(value.__module__):
        return
    for part in _inside(value):
        _look(part, found, seen, depth + 1)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, MethodType):
        yield from (value.__func__, value.__self__, *_attributes(value.__self__))
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, FunctionType):
        yield from _referred(value)
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
    elif callable(value) and not isinstance(value, type | nn.Module):
        yield from _attributes(value)
        call = vars(type(value)).get("__call__")
        yield from (_referred(call) if isinstance(call, FunctionType) else ())


def _attributes(value: Any) -> Iterator[Any]:
    # A module is put back as a whole; of other objects what they hold is.
    if not isinstance(value, nn.Module):
        yield from vars(value).values() if hasattr(value, "__dict__") else ()


def _referred(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
    yield from function.__defaults__ or ()
    yield from (function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__)
