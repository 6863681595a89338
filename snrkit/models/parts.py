"""What distributions are made of: their tensors, found and exchanged wherever they are."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributions, nn
from torch.distributions import transforms

# An object of torch.distributions; torch does not type their attributes.
Distribution = Any

_OWNERS = (distributions.Distribution, transforms.Transform, nn.Module)
# Links and caches of transforms, which a copy must not share.
_PASSING = ("_inv", "_cached_x_y")
# Values that hold no tensor, sorted out early for speed.
_PLAIN = (bool, int, float, str, torch.Size)


def rebuilt(value: Any, change: Callable[[str, Tensor], Any]) -> Any:
    """A copy of a distribution or transform with every tensor in it changed; checks and caches are off in the copy.

    Args:
        value: it is left as it is.
        change: from where a tensor is (``base_dist.loc``) and the tensor to what takes its place.
    """
    return _rebuilt(value, change, "", {})


def tensors_of(value: Any) -> dict[str, Tensor]:
    """The tensors in a distribution or transform, each once, by where they are."""
    found: dict[int, tuple[str, Tensor]] = {}

    def note(path: str, tensor: Tensor) -> Tensor:
        found.setdefault(id(tensor), (path, tensor))
        return tensor

    rebuilt(value, note)
    return dict(found.values())


def parts_of(value: Any) -> list[Any]:
    """Copies of the distributions, transforms and modules that a distribution is made of, itself first."""
    known: dict[int, Any] = {}
    _rebuilt(value, lambda _, tensor: tensor, "", known)
    return list(known.values())


def _rebuilt(value: Any, change: Callable[[str, Tensor], Any], path: str, known: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        return change(path, value)
    if type(value) in (list, tuple):
        return type(value)(_rebuilt(part, change, _joined(path, i), known) for i, part in enumerate(value))
    if type(value) in (dict, OrderedDict):
        return type(value)((key, _rebuilt(part, change, _joined(path, key), known)) for key, part in value.items())
    if isinstance(value, transforms._InverseTransform):
        return _rebuilt(value.inv, change, path, known).inv
    if not isinstance(value, _OWNERS):
        return value
    if id(value) not in known:
        new = known[id(value)] = object.__new__(type(value))
        held = vars(new)
        for name, part in vars(value).items():
            plain = part is None or isinstance(part, _PLAIN)
            held[name] = part if plain or name in _PASSING else _rebuilt(part, change, _joined(path, name), known)
        _set_plain(new)
    return known[id(value)]


def _joined(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


def _set_plain(new: Any) -> None:
    if isinstance(new, distributions.Distribution):
        new._validate_args = False
        temperature = vars(new).get("temperature")
        if isinstance(temperature, float):
            vars(new)["temperature"] = torch.tensor(temperature, dtype=torch.float64)  # log_prob takes its logarithm
    elif isinstance(new, transforms.Transform):
        vars(new).pop("_cached_x_y", None)
        new._inv, new._cache_size = None, 0
