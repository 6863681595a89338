"""What a loss reaches beside its arguments: in its closure, its globals or its object, and by functions that it calls."""

import dis
import functools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from snrkit.models.inside import GENERATORS, PLAIN, is_local, is_there, is_users, own_data, slots

# Functions within functions, objects within objects; entries of what is looked through.
_DEEPEST, LONGEST = 6, 1000
_CONTAINERS = dict, list, tuple, deque
_KEPT = dict, list, deque, set, np.ndarray, CellType
# Of Python's own, what people keep their numbers in.
NAMESPACES = frozenset({"types", "argparse"})


@dataclass
class Around:
    """What functions refer to, each once.

    Attributes:
        modules: modules.
        tensors: tensors.
        generators: random generators.
        others: what else can change: containers, arrays, a user's own classes and objects of them, environments, variables
            of outer functions.
        globals: of Python modules whose variables the functions set, the variables and their names.
    """

    modules: list[nn.Module] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)
    others: list[Any] = field(default_factory=list)
    globals: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    # Kept, lest another object gets the address of one.
    _seen: dict[int, Any] = field(default_factory=dict)

    @property
    def values(self) -> list[Any]:
        """All that is put back as a whole."""
        return [*self.tensors, *self.generators, *self.others]

    def look(self, *values: Any) -> None:
        """Note what values are, and what lies in them: what is near first, or else it would be cut off as if it were far."""
        waiting = deque((value, 0) for value in values)
        while waiting:
            value, depth = waiting.popleft()
            if not is_there(value) or isinstance(value, PLAIN) or id(value) in self._seen:
                continue
            self._seen[id(value)] = value
            self._note(value)
            # Of a library's functions only the loss itself is looked into.
            if isinstance(value, FunctionType) and depth and not is_local(value.__module__):
                continue
            if isinstance(value, CellType):  # no step of its own
                waiting.extendleft((part, depth) for part in _content(value))
            elif depth < _DEEPEST:
                waiting.extend((part, depth + 1) for part in _inside(value))
            if isinstance(value, FunctionType):
                self._look_at_globals(value)

    def _note(self, value: Any) -> None:
        if isinstance(value, nn.Module):
            self.modules.append(value)
        elif isinstance(value, Tensor):
            self.tensors.append(value)
        elif isinstance(value, GENERATORS):
            self.generators.append(value)
        elif isinstance(value, _KEPT) or is_users(value, NAMESPACES) or is_environment(value) or _is_users_class(value):
            self.others.append(value)

    def _look_at_globals(self, function: FunctionType) -> None:
        space = function.__globals__
        for code in _codes(function.__code__):
            stored = {step.argval for step in dis.get_instructions(code) if step.opname == "STORE_GLOBAL"}
            self.globals += [(space, name) for name in sorted(stored) if name in space]


def around(*functions: Callable[..., Any]) -> Around:
    """What functions refer to, themselves or through functions that they call; of a module, what its methods do."""
    found, values = Around(), list[Any]()
    for function in functions:
        if isinstance(function, nn.Module):
            for kind in dict.fromkeys(type(module) for module in function.modules()):
                values += _methods(kind)
            for module in function.modules():
                values += _hooks(module)
        else:
            values.append(function)
    found.look(*values)
    return found


def is_environment(value: Any) -> bool:
    """Whether it is one that is stepped and reset, of whatever library."""
    kind = type(value)
    return callable(getattr(kind, "step", None)) and callable(getattr(kind, "reset", None))


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
        if not isinstance(value.__self__, nn.Module):
            yield from _attributes(value.__self__)
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, FunctionType):
        yield from _referred(value)
    elif isinstance(value, nn.Module):
        yield from _hooks(value)
    elif isinstance(value, _CONTAINERS):
        if len(value) <= LONGEST:
            yield from value.values() if isinstance(value, dict) else value
    elif _is_users_class(value):
        yield from own_data(value, NAMESPACES).values()
    elif isinstance(value, type | ModuleType | Tensor | np.ndarray):
        return
    elif is_users(value, NAMESPACES) or is_environment(value):
        yield from _attributes(value)
        yield from _methods(type(value))
        yield from _kinds(type(value))
    elif callable(value):
        yield from _attributes(value)
    else:
        yield from (part for part in getattr(value, "__dict__", {}).values() if isinstance(part, GENERATORS))


def _attributes(value: Any) -> list[Any]:
    return [*getattr(value, "__dict__", {}).values(), *slots(value).values()]


def _methods(kind: type) -> list[FunctionType]:
    methods = (_function(method) for part in _kinds(kind) for method in vars(part).values())
    return [method for method in methods if isinstance(method, FunctionType)]


def _is_users_class(value: Any) -> bool:
    return isinstance(value, type) and is_local(value.__module__)


def _kinds(kind: type) -> list[type]:
    return [part for part in kind.__mro__ if is_local(part.__module__)]


def _function(attribute: Any) -> Any:
    if isinstance(attribute, staticmethod | classmethod):
        return attribute.__func__
    return attribute.fget if isinstance(attribute, property) else attribute


def _hooks(module: nn.Module) -> list[Any]:
    held = [part for name, part in vars(module).items() if name.endswith("_hooks") and isinstance(part, dict)]
    return [hook for part in held for hook in part.values()]


def _content(cell: CellType) -> Iterator[Any]:
    try:
        yield cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return


def _referred(function: FunctionType) -> Iterator[Any]:
    yield from function.__closure__ or ()
    yield from (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    yield function.__dict__
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    yield from (function.__globals__[name] for name in sorted(names) if name in function.__globals__)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """That of a function, and of those that are written in it."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)
