"""What a model carries beside its parameters, remembered and put back: a measurement leaves its object as it was.

Remembered are the values of parameters and buffers, gradients, plain attributes and what lies in lists, dicts and sets of
them, the state of generators, objects of the user's own code, and attributes of the classes of the model and its parts. Not
seen are variables of a Python module or a closure, and iterators.
"""

import random
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snrkit.backend.process import Generators, switches
from snrkit.models.calling import shown
from snrkit.models.inside import PLAIN, classes_of, is_there, own_data, packages_of, parts
from snrkit.models.restoring import UNINITIALISED, Restore, has_state, of_class, restore_of, state_of
from snrkit.specs.base import Mode

_DEEPEST = 12
# One measurement at a time in a process: modes, generators and precision switches belong to all threads together.
_ALONE = threading.RLock()


@contextmanager
def unchanged(
    model: nn.Module, leave: Callable[[Any], bool] | None = None, others: Iterable[Any] = ()
) -> Iterator["Snapshot"]:
    """Within the block a model may be used in any way; afterwards it, generators and torch's switches are as before.

    Other threads that want the same wait. ``leave`` and ``others`` are as for ``Snapshot``.
    """
    with _ALONE:
        snapshot, generators, to_restore = Snapshot(model, leave, others), Generators(), switches()
        try:
            yield snapshot
        finally:
            snapshot.restore()
            generators.restore()
            for restore in to_restore:
                restore()


@contextmanager
def in_mode(model: nn.Module, mode: Mode) -> Iterator[None]:
    """Every module in evaluation mode, or the model in training mode, within the block; afterwards each in its own.

    A model that is in training mode already is taken as it is: parts of it that are in evaluation mode (a frozen batch
    normalisation) are so on purpose.
    """
    modes = [(module, module.training) for module in model.modules()]
    if mode == "evaluation":
        model.eval()
    elif not model.training:
        model.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class Snapshot:
    """The state of a model, as it is now.

    Args:
        model: the model.
        leave: of what lies in it, what is no part of the state; None: nothing.
        others: what lies outside of it and is a part of the state too.
    """

    def __init__(
        self, model: nn.Module, leave: Callable[[Any], bool] | None = None, others: Iterable[Any] = ()
    ) -> None:
        self._model, self._leave = model, leave or (lambda _: False)
        self._restores: list[Restore] = []
        self._seen: dict[int, Any] = {}
        self._packages = packages_of(model)
        self._remember(model, 0)
        for other in others:
            self._remember(other, 0)
        for owner in classes_of(model):
            self._restores.append(of_class(owner, self._packages))
            for value in own_data(owner, self._packages).values():
                self._remember(value, 1)

    def restore(self) -> bool:
        """Put everything back, outer containers before what lies in them; returns whether anything was not as before."""
        with torch.no_grad():
            are_other = [restore() for restore in self._restores]
        return any(are_other)

    def _remember(self, value: Any, depth: int) -> None:
        # The value itself is kept: another object may not get its address while this lives.
        if id(value) in self._seen or depth > _DEEPEST:
            return
        self._seen[id(value)] = value
        if self._leave(value):
            return
        restore = restore_of(value, self._packages)
        if restore is not None:
            self._restores.append(restore)
        for _, part in parts(value, self._packages):
            if is_there(part) and not isinstance(part, PLAIN):
                self._remember(part, depth + 1)


def differences(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """Names of what two results of ``digest`` of one model do not share."""
    return tuple(sorted(shown(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def digest(model: nn.Module) -> dict[str, Any]:
    """Every plain value and tensor of a model's state by its place, in a form that compares equal if it is the same."""
    found: dict[str, Any] = {}
    packages = packages_of(model)
    _note(model, "", found, set(), packages, 0)
    for owner in classes_of(model):
        for name, value in own_data(owner, packages).items():
            _note(value, f"{owner.__qualname__}.{name}", found, set(), packages, 1)
    return found


def _note(value: Any, place: str, found: dict[str, Any], seen: set[int], packages: frozenset[str], depth: int) -> None:
    if isinstance(value, PLAIN):
        found[place] = repr(value)
        return
    if id(value) in seen or depth > _DEEPEST:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        found[place] = _digest_of_tensor(value)
    elif isinstance(value, np.ndarray):
        found[place] = value.shape, value.tobytes()
    elif isinstance(value, torch.Generator):
        found[place] = value.get_state().numpy().tobytes()
    elif isinstance(value, np.random.Generator | np.random.RandomState | random.Random) and has_state(value):
        found[place] = repr(state_of(value))
    elif isinstance(value, list | tuple | set | frozenset | deque | dict):
        found[f"{place} (length)"] = len(value)
    for name, part in parts(value, packages):
        _note(part, f"{place}.{name}" if place else name, found, seen, packages, depth + 1)


def _digest_of_tensor(tensor: Tensor) -> Any:
    if isinstance(tensor, UNINITIALISED) or tensor.is_meta:
        return "empty"
    flat = tensor.detach().to_dense().flatten()
    if flat.is_floating_point() or flat.is_complex():
        flat = torch.view_as_real(flat).flatten() if flat.is_complex() else flat
        flat = flat.double().nan_to_num()
        # Two sums with other weights: a permutation shows.
        ramp = torch.arange(1, len(flat) + 1, dtype=torch.float64, device=flat.device)
        return tuple(tensor.shape), float(flat.sum()), float((flat * ramp).sum())
    return tuple(tensor.shape), flat.cpu().numpy().tobytes()


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within the block what ``torch.compile`` made runs as it was written: its graphs can be differentiated only once."""
    with ExitStack() as stack:
        # Importing the compiler takes a second; where nothing has, nothing was compiled.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
