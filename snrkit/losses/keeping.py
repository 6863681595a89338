"""What lies outside of the modules measured and is put back: all that a loss or its batches reach, but what is large."""

from collections import deque
from collections.abc import Callable, Iterable
from types import CellType
from typing import Any

import numpy as np
from torch import Tensor, nn

from snrkit.losses.around import LONGEST, NAMESPACES, Around, is_environment
from snrkit.models.inside import GENERATORS, is_users
from snrkit.models.restoring import Restore, of_class, restore_of
from snrkit.models.state import Snapshot

# Numbers of a tensor or an array that are remembered, and of all: data sets lie there too, and are not to be copied.
_SMALL, _ALL = 2**22, 2**25
_KNOWN = nn.Module, dict, list, tuple, set, frozenset, deque, np.ndarray, Tensor, CellType, *GENERATORS


class Outside:
    """Containers, arrays, tensors, objects and variables that functions reach, as they are now.

    Args:
        reached: all of it.
        leave: what is left alone beside modules, objects of libraries, and what is large.
        apart: variables that are left alone too.
    """

    def __init__(self, reached: Around, leave: Callable[[Any], bool], apart: Around | None = None) -> None:
        self._also, self._room = leave, _ALL
        variables = [place for place in reached.globals if apart is None or place not in apart.globals]
        self._restores: list[Restore] = restores_of(variables)
        theirs = _classes(apart) if apart else {}
        self._restores += [of_class(kind, frozenset()) for kind in _classes(reached) if kind not in theirs]
        self._snapshot = Snapshot(nn.Module(), self._leave, reached.values)

    def restore(self) -> bool:
        """Put it back; returns whether anything was not as before."""
        are_other = [self._snapshot.restore(), *(restore() for restore in self._restores)]
        return any(are_other)

    def _leave(self, value: Any) -> bool:
        size = _size(value)
        if isinstance(value, nn.Module) or size > min(_SMALL, self._room) or is_foreign(value):
            return True
        self._room -= size
        if self._also(value):
            return True
        is_long = isinstance(value, dict | list | set | deque) and len(value) > LONGEST
        restore = restore_of(value, frozenset()) if is_long else None
        if restore is not None:  # itself, but not what lies in it
            self._restores.append(restore)
        return is_long


def _classes(reached: Around) -> dict[type, None]:
    """A user's classes, each once."""
    return dict.fromkeys(kind for kind in reached.others if isinstance(kind, type))


def is_foreign(value: Any, packages: frozenset[str] = NAMESPACES) -> bool:
    """Whether it is an object of a library, which keeps what it will, and no environment.

    Args:
        value: anything but a plain number or text.
        packages: whose objects are none of a library.
    """
    return not (isinstance(value, _KNOWN) or is_users(value, packages) or is_environment(value))


def restores_of(variables: Iterable[tuple[dict[str, Any], str]]) -> list[Restore]:
    """How to give global variables the values back that they have now."""

    def one(space: dict[str, Any], name: str) -> Restore:
        before = space[name]

        def restore() -> bool:
            is_other = space.get(name) is not before
            space[name] = before
            return is_other

        return restore

    return [one(*variable) for variable in variables]


def is_large(value: Any) -> bool:
    """Whether it is a tensor or an array of a size that data sets have."""
    return _size(value) > _SMALL


def _size(value: Any) -> int:
    return int(value.numel() if isinstance(value, Tensor) else value.size if isinstance(value, np.ndarray) else 0)
