"""The modules that functions work with: those that they are methods of, that they close over, or that their globals name."""

import functools
import inspect
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from snrkit.errors import CapabilityError, SpecError

_DEEPEST = 4
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
        for name, value in _reached(function, 0, set()):
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


def _reached(function: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """What a function can use, by name."""
    if id(function) in seen or depth > _DEEPEST:
        return
    seen.add(id(function))
    if isinstance(function, nn.Module):
        yield type(function).__name__.lower(), function
    elif isinstance(function, functools.partial):
        yield from _reached(function.func, depth, seen)
        for name, value in [
            *zip(map(str, range(len(function.args))), function.args, strict=True),
            *function.keywords.items(),
        ]:
            yield from _named(name, value, depth, seen)
    elif inspect.ismethod(function):
        yield from _named(type(function.__self__).__name__.lower(), function.__self__, depth, seen)
        yield from _reached(function.__func__, depth, seen)
    elif isinstance(function, types.FunctionType):
        for name, value in _used(function):
            yield from _named(name, value, depth, seen)


def _used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function closes over, has as defaults, or names among its globals; of a Python module what it names there."""
    names = _names(function.__code__)
    own = dict(inspect.getclosurevars(function).nonlocals)
    own |= {name: function.__globals__[name] for name in names if name in function.__globals__}
    for name, value in own.items():
        if isinstance(value, types.ModuleType):
            yield from ((part, vars(value)[part]) for part in names if _is_sought(value, vars(value).get(part)))
        else:
            yield name, value
    yield from ((f"default_{i}", value) for i, value in enumerate(function.__defaults__ or ()))
    yield from (function.__kwdefaults__ or {}).items()


def _is_sought(home: types.ModuleType, value: Any) -> bool:
    """Whether what a Python module holds is a module of a network, or a function that may use one."""
    is_users = home.__name__.partition(".")[0] not in (*_LIBRARIES, *sys.stdlib_module_names)
    return isinstance(value, nn.Module) or (is_users and isinstance(value, types.FunctionType))


def _names(code: types.CodeType) -> list[str]:
    """The names that code uses, that of comprehensions and functions within it among it."""
    inner = (name for part in code.co_consts if isinstance(part, types.CodeType) for name in _names(part))
    return list(dict.fromkeys([*code.co_names, *inner]))


def _named(name: str, value: Any, depth: int, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, nn.Module | Tensor):
        yield name, value
    elif isinstance(value, types.FunctionType | types.MethodType | functools.partial):
        yield from _reached(value, depth + 1, seen)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _named(f"{name}_{number}", part, depth, seen)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _named(f"{name}_{key}", part, depth, seen)
    elif _is_own_object(value) and id(value) not in seen and depth < _DEEPEST:
        seen.add(id(value))
        for key, part in vars(value).items():
            yield from _named(key, part, depth + 1, seen)


def _is_own_object(value: Any) -> bool:
    """Whether it is an object of a user's class, which may hold modules."""
    home = type(value).__module__.partition(".")[0]
    return (
        hasattr(value, "__dict__")
        and not isinstance(value, type | types.ModuleType)
        and home not in ("torch", "builtins", "pyro")
    )
