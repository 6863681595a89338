"""How the content of a value is put back: one function per kind, each made before anything changes.

Each says whether there was anything to put back.
"""

import random
from collections import OrderedDict, deque
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
    if isinstance(value, dict | list | deque | set):
        content = _of_dict(value) if isinstance(value, dict) else _of_collection(value)
        return _both(content, _of_object(value)) if is_users(value, packages) else content
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


def _both(first: Restore, second: Restore) -> Restore:
    def restore() -> bool:
        are_other = [first(), second()]
        return any(are_other)

    return restore


def _of_dict(value: dict[Any, Any]) -> Restore:
    """Past a subclass's own methods: a ``Counter`` is updated by adding up."""
    kind = OrderedDict if isinstance(value, OrderedDict) else dict
    names, before = list(kind.keys(value)), list(kind.values(value))

    def restore() -> bool:
        # What a loss keeps is put back before every draw: in no loop of Python's.
        now = kind.keys(value), kind.values(value)
        same = len(now[0]) == len(names) and all(map(is_, now[0], names)) and all(map(is_, now[1], before))
        if not same:
            kind.clear(value)
            for name, part in zip(names, before, strict=True):
                kind.__setitem__(value, name, part)
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
        is_other = len(value) != len(before) or not all(map(is_, value, before))
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
    if not has_values(value):
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


def has_values(tensor: Tensor) -> bool:
    """Whether its values can be told: nested ones cannot be compared."""
    return not (isinstance(tensor, UNINITIALISED) or tensor.is_meta or tensor.is_nested)


def is_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape and type have the same values, NaN where the other has it."""
    pairs = zip(_dense(one), _dense(other), strict=True)
    return all(torch.equal(a, b) or _equal_but_nan(a, b) for a, b in pairs)


def _equal_but_nan(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or not (one.is_floating_point() or one.is_complex()):
        return False
    return bool(torch.isclose(one, other, rtol=0, atol=0, equal_nan=True).all())


def _dense(tensor: Tensor) -> list[Tensor]:
    """What a tensor keeps; a sparse one may have no room to be written out."""
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    return [tensor if tensor.layout == torch.strided else tensor.to_dense()]
