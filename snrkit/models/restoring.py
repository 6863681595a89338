"""How the content of a value is put back: one function per kind, each made before anything changes."""

import random
from collections import deque
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from snrkit.backend.process import Restore
from snrkit.models.inside import GENERATORS, is_users, own_data, slots

UNINITIALISED = UninitializedParameter, UninitializedBuffer


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
    # Not a Python module: what was imported into it since would be lost.
    if hasattr(value, "__dict__") and not isinstance(value, type | ModuleType) and not callable(value):
        return _of_dict(vars(value))
    return None


def of_class(kind: type, packages: frozenset[str]) -> Restore:
    """How to put back the data among a class's attributes."""
    before = own_data(kind, packages)

    def restore() -> None:
        for name in own_data(kind, packages).keys() - before.keys():
            delattr(kind, name)
        for name, value in before.items():
            if vars(kind).get(name) is not value:
                setattr(kind, name, value)

    return restore


def _of_array(value: np.ndarray[Any, Any]) -> Restore:
    before = value.copy()

    def restore() -> None:
        if value.flags.writeable:
            np.copyto(value, before)

    return restore


def _of_dict(value: dict[Any, Any]) -> Restore:
    before = list(value.items())

    def restore() -> None:
        now = list(value.items())
        same = len(now) == len(before) and all(a is b and v is w for (a, v), (b, w) in zip(now, before, strict=True))
        if not same:
            value.clear()
            value.update(before)

    return restore


def _of_object(value: Any) -> Restore:
    """Attributes, in a dict or in slots; past a class's own ``__setattr__``, since it may be frozen."""
    inside = _of_dict(value.__dict__) if hasattr(value, "__dict__") else None
    before = slots(value)

    def restore() -> None:
        if inside is not None:
            inside()
        now = slots(value)
        for name in now.keys() - before.keys():
            object.__delattr__(value, name)
        for name, part in before.items():
            if name not in now or now[name] is not part:
                object.__setattr__(value, name, part)

    return restore


def _of_collection(value: Any) -> Restore:
    before = list(value)

    def restore() -> None:
        if len(value) != len(before) or any(a is not b for a, b in zip(value, before, strict=True)):
            value.clear()
            value.update(before) if isinstance(value, set) else value.extend(before)

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

    def restore() -> None:
        if isinstance(value, torch.Generator | np.random.RandomState):
            value.set_state(state)
        elif isinstance(value, random.Random):
            value.setstate(state)
        else:
            value.bit_generator.state = state

    return restore


def _of_tensor(value: Tensor) -> Restore | None:
    if isinstance(value, UNINITIALISED) or value.is_meta:
        return None
    content = value.detach().clone()
    gradient = value.grad if value.is_leaf else None
    kept = None if gradient is None else gradient.detach().clone()
    wanted = value.requires_grad if value.is_leaf else None

    def restore() -> None:
        # Through ``data``: autograd's version counters, which tell others of a change, stay.
        if value.shape != content.shape or value.dtype != content.dtype:
            value.data = content
        elif not _equal(value.detach(), content):
            value.data.copy_(content)
        if wanted is None:
            return
        if value.requires_grad != wanted:
            value.requires_grad_(wanted)
        if value.grad is not gradient:
            value.grad = gradient
        if gradient is not None and kept is not None and not _equal(gradient, kept):
            gradient.data.copy_(kept)

    return restore


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape and type have the same values; sparse ones cannot be compared as they are."""
    return torch.equal(*(part if part.layout == torch.strided else part.to_dense() for part in (one, other)))
