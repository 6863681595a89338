"""How the content of a value is put back: one function per kind, each made before anything changes.

Each says whether there was anything to put back.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from operator import is_
from types import CellType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from snrkit.models.inside import GENERATORS, is_users, own_data, slots

UNINITIALISED = UninitializedParameter, UninitializedBuffer
# Puts a content back, and says whether it was another.
Restore = Callable[[], bool]


def restore_of(value: Any, packages: frozenset[str]) -> Restore | None:  # noqa: PLR0911 (one per kind)
    """How to put a value's own content back; None where it has none that can change."""
    if isinstance(value, Tensor):
        return _of_tensor(value)
    if isinstance(value, np.ndarray):
        return _of_array(value)
    if isinstance(value, nn.Module):
        return _of_dict(value.__dict__)
    if isinstance(value, dict):
        return _of_dict(value)
    if isinstance(value, list | deque | set):
        return _of_collection(value)
    if isinstance(value, GENERATORS):
        return _of_generator(value) if has_state(value) else None
    if is_users(value, packages):
        return _of_object(value)
    if isinstance(value, CellType):
        return _of_cell(value)
    # Not a Python module: what was imported into it since would be lost.
    if hasattr(value, "__dict__") and not isinstance(value, type | ModuleType | Iterator) and not callable(value):
        return _of_dict(vars(value))
    return None


def of_class(kind: type, packages: frozenset[str]) -> Restore:
    """How to put back the data among a class's attributes."""
    before = own_data(kind, packages)

    def restore() -> bool:
        more = own_data(kind, packages).keys() - before.keys()
        for name in more:
            delattr(kind, name)
        other = [name for name, value in before.items() if vars(kind).get(name) is not value]
        for name in other:
            setattr(kind, name, before[name])
        return bool(more or other)

    return restore


def _of_array(value: np.ndarray[Any, Any]) -> Restore:
    before = value.copy()

    def restore() -> bool:
        # By bytes, which are also those of what is NaN or an object.
        is_other = bool(value.flags.writeable) and value.tobytes() != before.tobytes()
        if is_other:
            np.copyto(value, before)
        return is_other

    return restore


def _of_dict(value: dict[Any, Any]) -> Restore:
    names, before = list(value), list(value.values())

    def restore() -> bool:
        # What a loss keeps is put back before every draw: in no loop of Python's.
        same = len(value) == len(names) and all(map(is_, value, names)) and all(map(is_, value.values(), before))
        if not same:
            value.clear()
            for name, part in zip(names, before, strict=True):
                value[name] = part  # one by one: the update of a Counter would add up
        return not same

    return restore


def _of_object(value: Any) -> Restore:
    """Attributes, in a dict or in slots; past a class's own ``__setattr__``, since it may be frozen."""
    inside = _of_dict(value.__dict__) if hasattr(value, "__dict__") else None
    before = slots(value)

    def restore() -> bool:
        now, is_other = slots(value), inside is not None and inside()
        more = now.keys() - before.keys()
        for name in more:
            object.__delattr__(value, name)
        other = [name for name, part in before.items() if name not in now or now[name] is not part]
        for name in other:
            object.__setattr__(value, name, before[name])
        return bool(is_other or more or other)

    return restore


def _of_collection(value: Any) -> Restore:
    before = list(value)

    def restore() -> bool:
        is_other = len(value) != len(before) or any(a is not b for a, b in zip(value, before, strict=True))
        if is_other:
            value.clear()
            value.update(before) if isinstance(value, set) else value.extend(before)
        return is_other

    return restore


def _of_cell(cell: CellType) -> Restore | None:
    """A variable of a function that functions in it set."""
    try:
        before = cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None

    def restore() -> bool:
        is_other = cell.cell_contents is not before
        if is_other:
            cell.cell_contents = before
        return is_other

    return restore


def has_state(value: Any) -> bool:
    """Whether a generator can be put back; one that asks the machine for entropy cannot."""
    return not isinstance(value, random.SystemRandom)


def state_of(value: Any) -> Any:
    """A generator's state, in a form of its own."""
    if isinstance(value, torch.Generator | np.random.RandomState):
        return value.get_state()
    return value.getstate() if isinstance(value, random.Random) else value.bit_generator.state


def _of_generator(value: Any) -> Restore:
    state = state_of(value)

    def restore() -> bool:
        if isinstance(value, torch.Generator | np.random.RandomState):
            value.set_state(state)
        elif isinstance(value, random.Random):
            value.setstate(state)
        else:
            value.bit_generator.state = state
        return False  # what is asked is whether there was another content, and a generator has none

    return restore


def _of_tensor(value: Tensor) -> Restore | None:
    if isinstance(value, UNINITIALISED) or value.is_meta:
        return None
    content = value.detach().clone()
    gradient = value.grad if value.is_leaf else None
    kept = None if gradient is None else gradient.detach().clone()
    wanted = value.requires_grad if value.is_leaf else None

    def restore() -> bool:
        # Through ``data``: autograd's version counters, which tell others of a change, stay.
        is_other = value.shape != content.shape or value.dtype != content.dtype
        if is_other:
            value.data = content.clone()
        elif not is_equal(value.detach(), content):
            is_other = True
            value.data.copy_(content)
        if wanted is None:
            return is_other
        if value.requires_grad != wanted:
            value.requires_grad_(wanted)
        if value.grad is not gradient:
            value.grad = gradient
        if gradient is not None and kept is not None and not is_equal(gradient, kept):
            gradient.data.copy_(kept)
        return is_other

    return restore


def is_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape and type have the same values; sparse ones cannot be compared as they are."""
    if one.layout == other.layout == torch.strided:
        return torch.equal(one, other)
    return torch.equal(*(part if part.layout == torch.strided else part.to_dense() for part in (one, other)))
