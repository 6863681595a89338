"""From what users call a model to a ``LatentModel``: wrappers taken off, plain modules adopted, the rest refused by name."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.core.batches import Batch
from snrkit.errors import CapabilityError, SpecError
from snrkit.models.base import LatentModel, Posterior
from snrkit.models.calling import ADOPTED
from snrkit.models.offers import OFFERED
from snrkit.models.restoring import UNINITIALISED

# Where wrappers keep the model: torch.compile, DataParallel and its kin, Lightning's Fabric.
_INSIDE = ("_orig_mod", "module", "_forward_module")
_SHARDED = ("FullyShardedDataParallel", "FSDPModule", "DTensor")


class Adopted(LatentModel):
    """A user's module with ``encode`` and ``log_joint``, which stays what it is; parameters keep their names.

    Args:
        model: the module.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.add_module(ADOPTED, model)
        self.training = model.training
        self.independent_points = getattr(model, "independent_points", True)

    @property
    def _user(self) -> Any:
        return self._modules[ADOPTED]

    def _called(self) -> str:
        return type(self._user).__name__

    def encode(self, x: Batch) -> Posterior:
        """The module's own."""
        posterior: Posterior = self._user.encode(x)
        return posterior

    def log_joint(self, x: Batch, z: Tensor) -> Tensor:
        """The module's own."""
        value: Tensor = self._user.log_joint(x, z)
        return value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Under the names that they have in the user's module."""
        return self._user.named_parameters(prefix, recurse, remove_duplicate) if recurse else iter(())

    def state_dict(self, *args: Any, **named: Any) -> Any:
        """The module's own: a checkpoint of it can be loaded into the user's class."""
        return self._user.state_dict(*args, **named)

    def load_state_dict(self, *args: Any, **named: Any) -> Any:
        """The module's own."""
        return self._user.load_state_dict(*args, **named)

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Under the names that they have in the user's module."""
        return self._user.named_buffers(prefix, recurse, remove_duplicate) if recurse else iter(())


def _passed_on(name: str) -> Any:
    """What the user's class says under that name, if it does; else what a ``LatentModel`` has."""

    def found(model: Adopted) -> Any:
        user = model._user
        return getattr(user if hasattr(type(user), name) else super(Adopted, model), name)

    return property(found)


for _name in (*OFFERED, "networks"):
    setattr(Adopted, _name, _passed_on(_name))


def as_latent_model(model: Any) -> LatentModel:
    """The model itself, its wrapped one, or a module with ``encode`` and ``log_joint`` in the form that is measured.

    Args:
        model: a ``LatentModel``, a module with ``encode`` and ``log_joint``, or a wrapper of one.

    Raises:
        SpecError: it is none of these, or has no parameters to measure yet.
        CapabilityError: its parameters do not lie whole in this process.
    """
    found = _unwrapped(model)
    if not isinstance(found, LatentModel):
        found = _adopted(found)
    _check_parameters(found)
    return found


def _unwrapped(model: Any) -> Any:
    while isinstance(model, nn.Module) and not isinstance(model, LatentModel):
        if any(kind.__name__ in _SHARDED for kind in type(model).__mro__):
            raise CapabilityError("model", "its parameters are sharded over processes", "measure a whole copy of it")
        # Asked of the class: some wrappers pass every other attribute on to what they wrap.
        if hasattr(type(model), "encode"):
            break
        children = dict(model.named_children())
        inside = next((children[name] for name in _INSIDE if name in children), None)
        if inside is None:
            break
        model = inside
    return model


def _adopted(model: Any) -> LatentModel:
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise SpecError("model", f"is a {kind}, no torch.nn.Module", "give a module with encode(x) and log_joint(x, z)")
    if isinstance(model, torch.jit.ScriptModule):
        raise SpecError("model", "is a ScriptModule, whose methods cannot be taken apart", "give the Python module")
    missing = [name for name in ("encode", "log_joint") if not callable(getattr(model, name, None))]
    if missing:
        problem = f"{type(model).__name__} has no {' and no '.join(missing)}"
        raise SpecError("model", problem, "define encode(x) -> proposal and log_joint(x, z), see snrkit.LatentModel")
    return Adopted(model)


def _check_parameters(model: LatentModel) -> None:
    tensors = dict([*model.named_parameters(), *model.named_buffers()])
    for name, tensor in tensors.items():
        if isinstance(tensor, UNINITIALISED):
            problem = f"'{name}' of a lazy module is not initialised yet"
            raise SpecError("model", problem, "call the model once on a batch of its data, then measure")
        if tensor.is_meta:
            raise SpecError("model", f"'{name}' lies on the meta device, without values", "load or initialise it first")
        if any(kind.__name__ in _SHARDED for kind in type(tensor).__mro__):
            raise CapabilityError("model", f"'{name}' is sharded over processes", "measure a whole copy of it")
    devices = sorted({str(tensor.device) for tensor in tensors.values()})
    if len(devices) > 1:
        raise CapabilityError(
            "model", f"lies on several devices ({', '.join(devices)})", "move it to one: model.to(...)"
        )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise SpecError("model", "has no trainable parameter", "set requires_grad")
    odd = next((name for name, p in model.named_parameters() if p.requires_grad and not p.is_floating_point()), None)
    if odd is not None:
        raise CapabilityError("model", f"parameter '{odd}' is complex", "measure real-valued parameters")
