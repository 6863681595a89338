"""Parameters by the names that users know, and calls of a model with other tensors in their place."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# The name under which an adopted module lies, and what torch.compile puts into names; neither is shown to anyone.
ADOPTED = "adopted module"
_HIDDEN = (f"{ADOPTED}.", "_orig_mod.")


def shown(name: str) -> str:
    """The name of a parameter or buffer as a user knows it, without what wrappers put into it."""
    for hidden in _HIDDEN:
        name = name.replace(hidden, "")
    return name


def parameters_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by the names that a user knows, each once."""
    return {shown(name): parameter for name, parameter in model.named_parameters()}


def call_with(model: nn.Module, tensors: Mapping[str, Tensor], *arguments: Any, **named: Any) -> Any:
    """``model(*arguments, **named)`` with other parameters and buffers.

    Each place where a module holds a tensor is swapped once, however many names it has in the model. torch's own tying goes
    by names; it would swap a module that is reached in two ways twice, and leave the exchanged tensor there for good.

    Args:
        model: the model; it is as before afterwards.
        tensors: by the names of ``parameters_of``, buffers likewise; what is left out stays the model's own.
        arguments: of the call.
        named: its arguments by name.
    """
    first: dict[int, str] = {}
    places: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        held = (module.named_parameters, module.named_buffers)
        for place, own in itertools.chain(*(f(prefix, recurse=False, remove_duplicate=False) for f in held)):
            name = first.setdefault(id(own), shown(place))
            if name in tensors:
                places[place] = tensors[name]
    return torch.func.functional_call(model, places, arguments, named, tie_weights=False)
