"""What lies in a model and in the objects that a user's code keeps there."""

import random
import sys
import sysconfig
from collections import deque
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
GENERATORS = torch.Generator, np.random.Generator, np.random.RandomState, random.Random
# Where every module keeps its hooks, whose dicts are torch's own business.
_HOOKS = frozenset(name for name in vars(nn.Module()) if name.endswith(("_hook", "_hooks")) or "_hooks_" in name)
_FUNCTIONS = type, FunctionType, MethodType, BuiltinFunctionType
# Where installed code lies; what lies elsewhere a user wrote.
_INSTALLED = {
    Path(torch.__file__).parents[1],
    *(Path(path) for name, path in sysconfig.get_paths().items() if "lib" in name),
}
_OURS = Path(__file__).parents[1]


def parts(value: Any, packages: frozenset[str]) -> list[tuple[str, Any]]:
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
    if is_users(value, packages):
        return [*getattr(value, "__dict__", {}).items(), *slots(value).items()]
    return []


def is_users(value: Any, packages: frozenset[str]) -> bool:
    """Whether a value is an object with attributes, of a class that a user wrote or of one of the model's packages."""
    kind = type(value)
    if isinstance(value, (*_FUNCTIONS, ModuleType, Tensor)) or not (hasattr(value, "__dict__") or slots(value)):
        return False
    return _package(kind) in packages or is_local(kind.__module__)


def is_there(value: Any) -> bool:
    """Whether an object can be asked what it is: one that stands for another that is gone raises at any question."""
    try:
        return isinstance(value, (*PLAIN, nn.Module)) or hasattr(value, "__dict__") or len(slots(value)) >= 0
    except Exception:  # whatever its own code raises
        return False


def slots(value: Any) -> dict[str, Any]:
    """Attributes that an object keeps in slots."""
    names = [name for kind in type(value).__mro__ for name in _names_of_slots(kind)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _names_of_slots(kind: type) -> list[str]:
    held = vars(kind).get("__slots__", ())
    names = [held] if isinstance(held, str) else list(held)
    # Names with two underscores are kept under others.
    own = f"_{kind.__name__.lstrip('_')}"
    return [f"{own}{n}" if n.startswith("__") else n for n in names if not n.endswith("__")]


@cache
def is_local(module: str) -> bool:
    """Whether a module is a user's own: neither installed, nor Python's, nor ours."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module == "__main__"
    path = Path(file)
    return not any(path.is_relative_to(home) for home in (*_INSTALLED, _OURS))


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def packages_of(model: nn.Module) -> frozenset[str]:
    """Packages in which the model and its parts are written, and that of plain namespaces."""
    return frozenset({_package(type(module)) for module in model.modules()} - {"torch"} | {"types"})


def classes_of(model: nn.Module) -> list[type]:
    """The classes of a model and its parts that are its user's."""
    kinds = dict.fromkeys(kind for module in model.modules() for kind in type(module).__mro__)
    return [kind for kind in kinds if _package(kind) not in ("torch", "snrkit", "builtins", "abc")]


def own_data(kind: type, packages: frozenset[str]) -> dict[str, Any]:
    """The data among a class's attributes."""
    data = (*PLAIN, list, dict, set, deque, Tensor, np.ndarray, *GENERATORS)
    return {
        name: value
        for name, value in vars(kind).items()
        if not name.startswith(("__", "_abc")) and (isinstance(value, data) or is_users(value, packages))
    }
