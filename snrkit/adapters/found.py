"""The modules that functions work with: those that they are methods of, that they close over, or that their globals name."""

import functools
import inspect
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.core.backward import leaves
from snrkit.core.batches import Batch, broadcastable, points, take, transform
from snrkit.errors import CapabilityError, SpecError
from snrkit.models.base import FEW, LatentModel
from snrkit.models.draw import drawn

# How many steps lie between a function and what it uses; what lies deeper is found where autograd meets it.
_DEEPEST = 8
_MAY_USE_ONE = (types.FunctionType, staticmethod, classmethod, list, tuple, Mapping)
_LIBRARIES = ("torch", "numpy", "pandas", "snrkit", "pyro", "pythae")


def modules_of(functions: Iterable[Callable[..., Any]]) -> dict[str, nn.Module]:
    """The modules that functions reach, each once, by the names that they have there.

    Args:
        functions: methods, closures, partial functions, or modules themselves.

    Raises:
        CapabilityError: one reaches a parameter that lies in no module, so that nobody could put another in its place.
    """
    found: dict[str, nn.Module] = {}
    for function in functions:
        for name, value in _named(type(function).__name__.lower(), function, 0, set()):
            if isinstance(value, nn.Module):
                if not any(value is known for known in found.values()):
                    found[_free(name, found)] = value
            elif isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
                problem = f"'{name}' is a parameter that lies in no module"
                raise CapabilityError("model", problem, "put it into a torch.nn.Module that the functions use")
    return _outermost(found)


def holder(found: dict[str, nn.Module], given: Iterable[nn.Module] | nn.Module | None) -> dict[str, nn.Module]:
    """The modules by name, with those that a caller names besides.

    Raises:
        SpecError: something that is no module is named, or there is none at all.
    """
    named = dict(found)
    for module in [given] if isinstance(given, nn.Module) else (given or ()):
        if not isinstance(module, nn.Module):
            raise SpecError("modules", f"holds a {type(module).__name__}", "name the torch.nn.Modules that are trained")
        if not any(module is known for known in named.values()):
            named[_free(type(module).__name__.lower(), named)] = module
    if not any(True for module in named.values() for _ in module.parameters()):
        raise SpecError(
            "modules", "the functions reach no module with parameters", "name them: modules=[encoder, decoder]"
        )
    return _outermost(named)


def require_found(model: LatentModel, x: Batch) -> None:
    """See to it that the functions of a model depend on nothing that is trained beside its own parameters.

    Args:
        model: whose modules were found.
        x: data ``[B, *event]``.

    Raises:
        SpecError: they do: it would be taken for a constant.
    """
    few = transform(take(x, slice(0, FEW)), Tensor.detach)
    own = list(model.parameters())
    with torch.enable_grad():
        posterior = model.proposal(few)
        noise = own[0].new_zeros(points(few), 1, 1, *posterior.noise_shape)
        draw = drawn(posterior, noise, path=False)
        parts = {"encode": [draw.z, draw.log_q], "log_joint": [model.log_joint(broadcastable(few), draw.z.detach())]}
    known = {id(parameter) for parameter in own}
    for function, values in parts.items():
        other = next((leaf for leaf in leaves(values) if id(leaf) not in known), None)
        if other is not None:
            problem = f"{function} uses a parameter {list(other.shape)} of none of the modules that were found"
            raise SpecError("modules", problem, "name them all: modules=[encoder, decoder]")


def _free(name: str, taken: dict[str, Any]) -> str:
    plain = name.replace(".", "_")
    number = 2
    while plain in taken:
        plain, number = f"{name}_{number}", number + 1
    return plain


def _outermost(found: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Without those that are parts of others."""
    inside = {id(part) for module in found.values() for part in list(module.modules())[1:]}
    return {name: module for name, module in found.items() if id(module) not in inside}


def _named(name: str, value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """The modules and tensors among what a value is made of, by name."""
    if isinstance(value, nn.Module | Tensor):
        yield name, value
    elif id(value) not in seen and depth <= _DEEPEST:
        seen.add(id(value))
        for part, inner in _parts(name, value):
            yield from _named(part, inner, depth + 1, seen)


def _parts(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    """What a function can use, or a container or an object of a user's class holds, by name."""
    if isinstance(value, functools.partial):
        return [("func", value.func), *((str(i), part) for i, part in enumerate(value.args)), *value.keywords.items()]
    if isinstance(value, types.MethodType):
        return [(type(value.__self__).__name__.lower(), value.__self__), (name, value.__func__)]
    if isinstance(value, staticmethod | classmethod):
        return [(name, value.__func__)]
    if isinstance(value, types.FunctionType):
        return _used(value)
    if isinstance(value, list | tuple | set | frozenset | deque):
        value = dict(enumerate(value))
    return (
        [(f"{name}_{key}", part) for key, part in value.items()] if isinstance(value, Mapping) else _attributes(value)
    )


def _used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function closes over, has as defaults, or names among its globals; of a module or class what it names there."""
    names = _names(function.__code__)
    own = dict(inspect.getclosurevars(function).nonlocals)
    own |= {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, value in own.items():
        if isinstance(value, types.ModuleType | type):
            yield from ((part, vars(value)[part]) for part in names if _is_sought(value, vars(value).get(part)))
        else:
            yield name, value
    yield from ((f"default_{i}", value) for i, value in enumerate(function.__defaults__ or ()))
    yield from (function.__kwdefaults__ or {}).items()


def _is_sought(home: types.ModuleType | type, value: Any) -> bool:
    """Whether what a Python module or class holds is a module of a network, or may use one."""
    where = home.__module__ if isinstance(home, type) else home.__name__
    is_users = where.partition(".")[0] not in (*_LIBRARIES, *sys.stdlib_module_names)
    return isinstance(value, nn.Module) or (is_users and isinstance(value, _MAY_USE_ONE))


def _names(code: types.CodeType) -> list[str]:
    """The names that code uses, that of comprehensions and functions within it among it."""
    inner = (name for part in code.co_consts if isinstance(part, types.CodeType) for name in _names(part))
    return list(dict.fromkeys([*code.co_names, *inner]))


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """Those of an object of a user's class."""
    home = type(value).__module__.partition(".")[0]
    if isinstance(value, type | types.ModuleType) or home in ("torch", "builtins", "pyro"):
        return
    yield from getattr(value, "__dict__", {}).items()
    for owner in type(value).__mro__:
        for name, own in vars(owner).items():
            if isinstance(own, types.MemberDescriptorType) and hasattr(value, name):  # of __slots__
                yield name, getattr(value, name)
