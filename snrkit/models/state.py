"""What a model carries beside its parameters, remembered and put back: a measurement leaves its object as it was.

Remembered are the values of parameters and buffers, gradients, plain attributes and what lies in lists, dicts and sets of
them, the state of generators, objects of the user's own code, and attributes of the classes of the model and its parts. Not
seen are variables of a Python module or a closure, and iterators.
"""

import random
import sys
import sysconfig
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from snrkit.models.base import shown
from snrkit.specs.base import Mode

Restore = Callable[[], None]
UNINITIALISED = UninitializedParameter, UninitializedBuffer

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_DEEPEST = 12
# Where every module keeps its hooks, whose dicts are torch's own business.
_HOOKS = frozenset(name for name in vars(nn.Module()) if name.endswith(("_hook", "_hooks")) or "_hooks_" in name)
_FUNCTIONS = type, FunctionType, MethodType, BuiltinFunctionType
# Where installed code lies; what lies elsewhere a user wrote.
_INSTALLED = {
    Path(torch.__file__).parents[1],
    *(Path(path) for name, path in sysconfig.get_paths().items() if "lib" in name),
}
_OURS = Path(__file__).parents[1]
_GENERATORS = torch.Generator, np.random.Generator, np.random.RandomState, random.Random
# Precision is put back by whoever sets it (``kernels.full_precision``); the old switch beside the new cannot be read.
_CUDNN = "benchmark", "deterministic", "enabled"
# One measurement at a time in a process: modes, generators and precision switches belong to all threads together.
_ALONE = threading.RLock()


@contextmanager
def unchanged(model: nn.Module) -> Iterator["Snapshot"]:
    """Within the block a model may be used in any way; afterwards it, generators and torch's switches are as before.

    Other threads that want the same wait.
    """
    with _ALONE:
        snapshot, switches = Snapshot(model), _switches()
        generators = Generators()
        try:
            yield snapshot
        finally:
            snapshot.restore()
            generators.restore()
            for restore in switches:
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


class Generators:
    """The global random generators of torch (of all devices in use), numpy and ``random``, as they are now."""

    NAMES = ("torch", "numpy", "random")

    def __init__(self) -> None:
        self._torch = [(generator, generator.get_state()) for generator in _of_torch()]
        self._numpy, self._random = np.random.get_state(), random.getstate()

    def restore(self) -> None:
        """Put them back."""
        for generator, state in self._torch:
            generator.set_state(state)
        np.random.set_state(self._numpy)
        random.setstate(self._random)

    def advanced(self) -> tuple[str, ...]:
        """Names of those that have been drawn from since."""
        drawn = any(not torch.equal(generator.get_state(), state) for generator, state in self._torch)
        _, key, *rest = np.random.get_state()
        _, old, *other = self._numpy
        moved = rest != other or not np.array_equal(key, old)
        changed = (drawn, moved, random.getstate() != self._random)
        return tuple(name for name, moved in zip(self.NAMES, changed, strict=True) if moved)


def seed_generators(seed: int) -> None:
    """Set the generators that ``Generators`` remembers to a place that ``seed`` of 63 bits names."""
    for generator in _of_torch():
        generator.manual_seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    random.seed(seed)


def _of_torch() -> tuple[torch.Generator, ...]:
    # A device that is not in use yet is left alone: ``torch.manual_seed`` would leave it an order to be seeded later.
    in_use: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return torch.default_generator, *(torch.cuda.default_generators if in_use else ())


def _switches() -> list[Restore]:
    """How to put back what torch keeps for the whole process or thread."""
    dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    restores: list[Restore] = [lambda: torch.set_default_dtype(dtype)]
    # Where a user mixes torch's old and new switches of precision, setting the old one is refused; then it did not change.
    restores.append(
        lambda: _if_other(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, precision)
    )
    for device in ("cpu", "cuda"):
        enabled, kind = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        restores.append(lambda d=device, e=enabled: torch.set_autocast_enabled(d, e))  # type: ignore[misc]
        restores.append(lambda d=device, k=kind: torch.set_autocast_dtype(d, k))  # type: ignore[misc]
    return [*restores, *_rarely_moved()]


def _rarely_moved() -> list[Restore]:
    """The same for what is set only if it was moved, since setting it has costs or warnings of its own."""
    pairs: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
        (torch.get_num_threads, torch.set_num_threads),
        (_determinism, lambda strict: torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])),
        (_anomalies, lambda found: torch.autograd.set_detect_anomaly(*found)),
    ]
    cudnn = torch.backends.cudnn
    pairs += [(partial(getattr, cudnn, name), partial(setattr, cudnn, name)) for name in _CUDNN]
    return [partial(_if_other, read, write, read()) for read, write in pairs]


def _determinism() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _anomalies() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _if_other(read: Callable[[], Any], write: Callable[[Any], None], value: Any) -> None:
    if read() != value:
        write(value)


class Snapshot:
    """The state of a model, as it is now.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._restores: list[Restore] = []
        self._seen: dict[int, Any] = {}
        self._packages = _packages(model)
        self._remember(model, 0)
        for owner in _classes(model):
            self._restores.append(_of_class(owner, self._packages))
            for value in _own(owner, self._packages).values():
                self._remember(value, 1)

    def restore(self) -> None:
        """Put everything back, outer containers before what lies in them."""
        with torch.no_grad():
            for restore in self._restores:
                restore()

    def _remember(self, value: Any, depth: int) -> None:
        # The value itself is kept: another object may not get its address while this lives.
        if id(value) in self._seen or depth > _DEEPEST:
            return
        self._seen[id(value)] = value
        restore = _restore_of(value, self._packages)
        if restore is not None:
            self._restores.append(restore)
        for _, part in _parts(value, self._packages):
            if not isinstance(part, _PLAIN):
                self._remember(part, depth + 1)


def differences(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    """Names of what two results of ``digest`` of one model do not share."""
    return tuple(sorted(shown(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)))


def digest(model: nn.Module) -> dict[str, Any]:
    """Every plain value and tensor of a model's state by its place, in a form that compares equal if it is the same."""
    found: dict[str, Any] = {}
    packages = _packages(model)
    _note(model, "", found, set(), packages, 0)
    for owner in _classes(model):
        for name, value in _own(owner, packages).items():
            _note(value, f"{owner.__qualname__}.{name}", found, set(), packages, 1)
    return found


def _note(value: Any, place: str, found: dict[str, Any], seen: set[int], packages: frozenset[str], depth: int) -> None:
    if isinstance(value, _PLAIN):
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
    elif isinstance(value, np.random.Generator | np.random.RandomState | random.Random) and _has_state(value):
        found[place] = repr(_state_of(value))
    elif isinstance(value, list | tuple | set | frozenset | deque | dict):
        found[f"{place} (length)"] = len(value)
    for name, part in _parts(value, packages):
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


def _parts(value: Any, packages: frozenset[str]) -> list[tuple[str, Any]]:
    """What lies in a value, with names."""
    if isinstance(value, nn.Module):
        # Parameters, buffers and submodules stand under their own names.
        own = {k: v for k, v in value.__dict__.items() if k not in ("_parameters", "_buffers", "_modules")}
        inside = [own, value._parameters, value._buffers, value._modules]
        return [(name, part) for held in inside for name, part in held.items() if name not in _HOOKS] + [
            (f"({name})", value.__dict__[name]) for name in ("_parameters", "_buffers", "_modules")
        ]
    if isinstance(value, dict):
        return [(str(key), part) for key, part in value.items()]
    if isinstance(value, list | tuple | deque):
        return [(str(i), part) for i, part in enumerate(value)]
    if isinstance(value, set | frozenset):
        return []
    if _is_users(value, packages):
        return [*getattr(value, "__dict__", {}).items(), *_slots(value).items()]
    return []


def _is_users(value: Any, packages: frozenset[str]) -> bool:
    """Whether a value is an object with attributes, of a class that a user wrote or of one of the model's packages."""
    kind = type(value)
    if isinstance(value, (*_FUNCTIONS, ModuleType, Tensor)) or not (hasattr(value, "__dict__") or _slots(value)):
        return False
    return _package(kind) in packages or _is_local(kind.__module__)


def _slots(value: Any) -> dict[str, Any]:
    """Attributes that an object keeps in slots."""
    names = [name for kind in type(value).__mro__ for name in _names_of_slots(kind)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _names_of_slots(kind: type) -> list[str]:
    held = vars(kind).get("__slots__", ())
    names = [held] if isinstance(held, str) else list(held)
    return [n for n in names if not n.startswith("__")]


@cache
def _is_local(module: str) -> bool:
    """Whether a module is a user's own: neither installed, nor Python's, nor ours."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__"
    path = Path(file)
    return not any(path.is_relative_to(home) for home in (*_INSTALLED, _OURS))


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def _packages(model: nn.Module) -> frozenset[str]:
    """Packages in which the model and its parts are written, and that of plain namespaces."""
    return frozenset({_package(type(module)) for module in model.modules()} - {"torch"} | {"types"})


def _classes(model: nn.Module) -> list[type]:
    """The classes of a model and its parts that are its user's."""
    kinds = dict.fromkeys(kind for module in model.modules() for kind in type(module).__mro__)
    return [kind for kind in kinds if _package(kind) not in ("torch", "snrkit", "builtins", "abc")]


def _own(kind: type, packages: frozenset[str]) -> dict[str, Any]:
    """The data among a class's attributes."""
    data = (*_PLAIN, list, dict, set, deque, Tensor, np.ndarray, *_GENERATORS)
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith(("__", "_abc")) and (isinstance(value, data) or _is_users(value, packages))
    }


def _of_class(kind: type, packages: frozenset[str]) -> Restore:
    before = _own(kind, packages)

    def restore() -> None:
        for name in _own(kind, packages).keys() - before.keys():
            delattr(kind, name)
        for name, value in before.items():
            if vars(kind).get(name) is not value:
                setattr(kind, name, value)

    return restore


def _restore_of(value: Any, packages: frozenset[str]) -> Restore | None:  # noqa: PLR0911 (one per kind)
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
    if isinstance(value, _GENERATORS):
        return _of_generator(value) if _has_state(value) else None
    if _is_users(value, packages):
        return _of_object(value)
    # Not a Python module: what was imported into it since would be lost.
    if hasattr(value, "__dict__") and not isinstance(value, type | ModuleType) and not callable(value):
        return _of_dict(vars(value))
    return None


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
    before = _slots(value)

    def restore() -> None:
        if inside is not None:
            inside()
        now = _slots(value)
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


def _has_state(value: Any) -> bool:
    """Whether a generator can be put back; one that asks the machine for entropy cannot."""
    return not isinstance(value, random.SystemRandom)


def _state_of(value: Any) -> Any:
    if isinstance(value, torch.Generator | np.random.RandomState):
        return value.get_state()
    return value.getstate() if isinstance(value, random.Random) else value.bit_generator.state


def _of_generator(value: Any) -> Restore:
    state = _state_of(value)

    def restore() -> None:
        if isinstance(value, torch.Generator | np.random.RandomState):
            value.set_state(state)
        elif isinstance(value, random.Random):
            value.setstate(state)
        else:
            value.bit_generator.state = state

    return restore


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape and type have the same values; sparse ones cannot be compared as they are."""
    return torch.equal(*(part if part.layout == torch.strided else part.to_dense() for part in (one, other)))


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


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within the block what ``torch.compile`` made runs as it was written: its graphs can be differentiated only once."""
    with ExitStack() as stack:
        # Importing the compiler takes a second; where nothing has, nothing was compiled.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield
