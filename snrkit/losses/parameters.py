"""What a loss is measured in: named parameters, in groups, of whatever a user has them in."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.core.objective import Network
from snrkit.diagnostics.problem import Layout
from snrkit.errors import CapabilityError, SpecError
from snrkit.models.calling import parameters_of
from snrkit.models.restoring import UNINITIALISED
from snrkit.registry import hint

_GIVE = "give a module, parameters, or a dict of modules or parameters by name"
# Where wrappers keep the module: torch.compile, DataParallel, Lightning's Fabric.
_INSIDE = ("_orig_mod", "module", "_forward_module")
_WRAPPERS = ("OptimizedModule", "DataParallel", "_FabricModule")
_MANY_PROCESSES = ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule", "DeepSpeedEngine")
_ALL = "all"
# Names in a message.
_SHOWN = 6


@dataclass(frozen=True)
class Trained:
    """The parameters that a loss is measured in.

    Attributes:
        given: what the loss is called with, as the user gave it.
        modules: the modules that the parameters were given in, if any, without wrappers.
        groups: name of each group to the names of its parameters; they share none.
        named: name to parameter, those of groups first; each is trained, and there once.
    """

    given: Any
    modules: tuple[nn.Module, ...]
    groups: dict[str, list[str]]
    named: dict[str, Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """The parameters in order."""
        return list(self.named.values())

    @property
    def device(self) -> torch.device:
        """Where all are."""
        return self.tensors[0].device

    @property
    def dtype(self) -> torch.dtype:
        """The widest of their types, in which draws are kept; half precision is widened, which changes no number."""
        widest = torch.float32
        for tensor in self.tensors:
            widest = torch.promote_types(widest, tensor.dtype)
        return widest

    @property
    def own(self) -> torch.dtype:
        """The type of the first."""
        return self.tensors[0].dtype

    @property
    def layout(self) -> Layout:
        """All as one vector; losses know no networks, and ``blocks`` has what is read."""
        shapes = tuple(tensor.shape for tensor in self.tensors)
        one: Network = "generative"
        return Layout(tuple(self.named), shapes, (one,) * len(shapes))

    @property
    def blocks(self) -> dict[str, slice]:
        """Name of each block to its coordinates: the groups, ``all``, and every tensor."""
        tensors = {name: block for name, block in self.layout.blocks.items() if name in self.named}
        spans = {group: slice(tensors[names[0]].start, tensors[names[-1]].stop) for group, names in self.groups.items()}
        return spans | {_ALL: slice(0, self.layout.size)} | tensors


def trained(given: Any, groups: Mapping[str, Any] | None = None) -> Trained:
    """The trained parameters of what a user gave.

    Args:
        given: a module (or a wrapper of one), a parameter, an iterable of parameters or of (name, parameter), or a dict of
            modules or parameters by name.
        groups: name to a module, a parameter, the beginning of names, or several of these; None: the parts of the module, or
            of the dict.

    Raises:
        SpecError: it is none of these, has no trained parameter, or a group is empty or shares one with another.
        CapabilityError: the parameters do not lie whole in this process, on one device, and real.
    """
    if isinstance(given, Iterator):
        given = list(given)
    modules, named, parts = _taken(given)
    _check(named)
    named = {name: tensor for name, tensor in named.items() if tensor.requires_grad}
    if not named:
        raise SpecError("model_or_parameters", "has no trained parameter", "set requires_grad")
    found = _asked(groups, named) if groups is not None else _natural(parts, named)
    order = [name for names in found.values() for name in names]
    order += [name for name in named if name not in set(order)]
    return Trained(given, modules, found, {name: named[name] for name in order})


def unwrapped(module: nn.Module) -> nn.Module:
    """A module without what torch.compile, DataParallel or Fabric put around it.

    Raises:
        CapabilityError: it is one process's part of several.
    """
    while True:
        kinds = [kind.__name__ for kind in type(module).__mro__]
        several = next((kind for kind in kinds if kind in _MANY_PROCESSES), None)
        if several is not None:
            problem = f"is a {several}, whose gradients are those of several processes"
            raise CapabilityError("model_or_parameters", problem, "measure the module inside it (model.module), in one")
        children = dict(module.named_children())
        inside = next((children[name] for name in _INSIDE if name in children), None)
        if inside is None or not any(kind in _WRAPPERS for kind in kinds):
            return module
        module = inside


Parts = dict[str, list[Tensor]]


def _taken(given: Any) -> tuple[tuple[nn.Module, ...], dict[str, Tensor], Parts]:
    """Modules, all parameters by name, and the natural groups of them."""
    if isinstance(given, nn.Module):
        module = unwrapped(given)
        children: Parts = {name: list(child.parameters()) for name, child in module.named_children()}
        return (module,), {**parameters_of(module)}, children
    if isinstance(given, Tensor):
        return (), {"parameter": given}, {}
    if isinstance(given, Mapping):
        return _of_pairs([(str(name), part) for name, part in given.items()], grouped=True)
    if isinstance(given, Iterable) and not isinstance(given, str | bytes):
        parts = list(given)
        if all(isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str) for part in parts):
            return _of_pairs(parts, grouped=False)
        return _of_pairs([(str(place), part) for place, part in enumerate(parts)], grouped=False)
    raise SpecError("model_or_parameters", f"is a {type(given).__name__}", _GIVE)


def _of_pairs(pairs: list[tuple[str, Any]], grouped: bool) -> tuple[tuple[nn.Module, ...], dict[str, Tensor], Parts]:
    modules: list[nn.Module] = []
    named: dict[str, Tensor] = {}
    parts: Parts = {}
    for name, part in pairs:
        inside: dict[str, Tensor]
        if isinstance(part, nn.Module):
            modules.append(unwrapped(part))
            inside = {f"{name}.{own}": tensor for own, tensor in parameters_of(modules[-1]).items()}
        elif isinstance(part, Tensor):
            inside = {name: part}
        else:
            raise SpecError("model_or_parameters", f"holds a {type(part).__name__} at '{name}'", _GIVE)
        known = {id(tensor) for tensor in named.values()}
        named |= {own: tensor for own, tensor in inside.items() if id(tensor) not in known}
        if grouped or isinstance(part, nn.Module):
            parts[name] = list(inside.values())
    return tuple(modules), named, parts


def _check(named: Mapping[str, Tensor]) -> None:
    for name, tensor in named.items():
        if isinstance(tensor, UNINITIALISED):
            problem = f"'{name}' of a lazy module is not initialised yet"
            raise SpecError("model_or_parameters", problem, "call the model once on a batch, then measure")
        if tensor.is_meta:
            problem = f"'{name}' lies on the meta device, without values"
            raise SpecError("model_or_parameters", problem, "load or initialise it first")
        if tensor.requires_grad and not tensor.is_leaf:
            problem = f"'{name}' is computed from other tensors"
            raise SpecError("model_or_parameters", problem, "give the parameters that it is computed from")
        if tensor.requires_grad and not tensor.is_floating_point():
            raise CapabilityError("model_or_parameters", f"'{name}' is complex", "measure real-valued parameters")
        if any(kind.__name__ == "DTensor" for kind in type(tensor).__mro__):
            raise CapabilityError(
                "model_or_parameters", f"'{name}' is sharded over processes", "measure a whole copy of it"
            )
    devices = sorted({str(tensor.device) for tensor in named.values()})
    if len(devices) > 1:
        problem = f"lie on several devices ({', '.join(devices)})"
        raise CapabilityError("model_or_parameters", problem, "move them to one")


def _natural(parts: Parts, named: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The parts as groups; a parameter of several is in the first, and a part that is all, or one tensor, is none."""
    left = {id(tensor): name for name, tensor in named.items()}
    found: dict[str, list[str]] = {}
    for part, tensors in parts.items():
        names = [left.pop(id(tensor)) for tensor in tensors if id(tensor) in left]
        if names and part not in named and part != _ALL:
            found[part] = names
    return found if len(found) > 1 or left else {}


def _asked(groups: Mapping[str, Any], named: Mapping[str, Tensor]) -> dict[str, list[str]]:
    if not isinstance(groups, Mapping) or not groups:
        raise SpecError("groups", f"is {type(groups).__name__}", 'write {"actor": actor, "critic": critic}')
    by_tensor = {id(tensor): name for name, tensor in named.items()}
    owners: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for group, members in groups.items():
        names = list(dict.fromkeys(_members(str(group), members, by_tensor)))
        if not names:
            raise SpecError("groups", f"'{group}' holds no trained parameter of those measured", "leave it out")
        if group == _ALL or (group in named and names != [group]):
            raise SpecError("groups", f"'{group}' is the name of another block", "give the group another name")
        shared = next((name for name in names if name in owners), None)
        if shared is not None:
            problem = f"'{shared}' is in '{owners[shared]}' and in '{group}'"
            raise SpecError("groups", problem, "give each parameter to one group")
        owners |= dict.fromkeys(names, str(group))
        found[str(group)] = names
    return found


def _members(group: str, members: Any, by_tensor: Mapping[int, str]) -> Iterator[str]:
    if isinstance(members, str):
        names = list(by_tensor.values())
        inside = [name for name in names if name == members or name.startswith(f"{members}.")]
        if not inside:
            few = ", ".join(islice(names, _SHOWN))
            raise SpecError("groups", f"'{group}': no parameter '{members}'", f"{hint(members, names)}there are {few}")
        yield from inside
    elif isinstance(members, nn.Module):
        yield from (by_tensor[id(p)] for p in members.parameters() if id(p) in by_tensor)
    elif isinstance(members, Tensor):
        yield from (by_tensor[id(p)] for p in (members,) if id(p) in by_tensor)
    elif isinstance(members, Iterable):
        for member in members:
            yield from _members(group, member, by_tensor)
    else:
        problem = f"'{group}' holds a {type(members).__name__}"
        raise SpecError("groups", problem, "give modules, parameters or the beginnings of their names")
