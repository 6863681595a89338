"""One gradient of a loss as a row of numbers, whatever the loss does to give it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from snrkit.core.backward import derivatives
from snrkit.errors import SnrkitError, SpecError
from snrkit.losses.parameters import Trained

Kind = Literal["scalar", "groups", "backward"]
Loss = Callable[..., Any]
# Numbers of a row that stay in a core's own cache, and so are written twice rather than tensor by tensor.
_SMALL = 2**16


class Gradient:
    """Gradients of one loss.

    Args:
        name: of the loss, for messages.
        loss: what a user gave.
        trained: the parameters.
        holder: a module that has all modules and parameters concerned.
        kind: how it gives its gradient: by returning a scalar, or one per group, or by calling ``backward`` itself.
        hidden: whether parameters are out of the graph's sight (see ``core.backward``).
    """

    def __init__(
        self, name: str, loss: Loss, trained: Trained, holder: nn.Module, kind: Kind = "scalar", hidden: bool = False
    ) -> None:
        self.name, self.loss, self.trained, self.holder = name, loss, trained, holder
        self.kind, self.hidden = kind, hidden
        self._tensors = trained.tensors

    def call(self, batch: Any, noise: Tensor | None = None) -> Any:
        """What the loss returns."""
        return self.loss(*self._given(batch, noise))

    def require_call(self, batch: Any, noise: Tensor | None = None) -> None:
        """See to it that the loss takes the arguments that it is called with.

        Raises:
            SpecError: it does not.
        """
        names = [name for name, part in (("model", True), ("batch", batch), ("noise", noise)) if part is not None]
        try:
            signature = inspect.signature(self.loss)
        except (TypeError, ValueError):  # some that are written in C have none
            return
        try:
            signature.bind(*self._given(batch, noise))
        except TypeError as error:
            problem = f"'{self.name}' cannot be called as loss({', '.join(names)}): {error}"
            raise SpecError("loss", problem, "let it take these, and what else it needs by a closure") from None

    def _given(self, batch: Any, noise: Tensor | None) -> list[Any]:
        return [self.trained.given, *(part for part in (batch, noise) if part is not None)]

    def into(self, row: Tensor, batch: Any, noise: Tensor | None = None, origin: Tensor | None = None) -> Tensor | None:
        """Write one gradient to a row ``[P]``, less an origin ``[P]`` where there is one.

        Returns:
            The loss, a scalar, or None where it is not told.

        Raises:
            SpecError: the loss did something else than at its trial.
        """
        if self.kind == "backward":
            return self._from_backward(row, batch, noise, origin)
        found = self.call(batch, noise)
        if self.kind == "groups":
            return self._from_groups(row, require_groups(self.name, found, self.trained), origin)
        value = require_scalar(self.name, found)
        _write(row, self._derivatives(value, self._tensors), origin)
        return value.detach()

    def _derivatives(self, value: Tensor, wanted: Sequence[Tensor], retain: bool = False) -> Sequence[Tensor]:
        if not self.hidden:
            return torch.autograd.grad(value, wanted, retain_graph=retain, materialize_grads=True)
        return derivatives(self.holder, [value], wanted, retain=retain, hidden=True)

    def _from_groups(self, row: Tensor, values: Mapping[str, Tensor], origin: Tensor | None) -> Tensor:
        row.zero_()
        blocks, last = self.trained.blocks, list(values)[-1]
        for group, value in values.items():
            wanted = [self.trained.named[name] for name in self.trained.groups[group]]
            own = blocks[group]
            gradients = self._derivatives(value, wanted, retain=group != last)
            _write(row[own], gradients, None if origin is None else origin[own])
        return torch.stack([value.detach().double() for value in values.values()]).sum()

    def _from_backward(self, row: Tensor, batch: Any, noise: Tensor | None, origin: Tensor | None) -> Tensor | None:
        for tensor in self._tensors:
            tensor.grad = None
        found = self.call(batch, noise)
        got = [torch.zeros_like(t) if t.grad is None else t.grad for t in self._tensors]
        _write(row, got, origin)
        return found.detach() if isinstance(found, Tensor) and found.numel() == 1 else None


def _write(row: Tensor, gradients: Sequence[Tensor], origin: Tensor | None) -> None:
    """Write gradients to a row ``[p]`` one behind the other, less an origin ``[p]`` where there is one."""
    flat = [_flat(g) for g in gradients]
    if origin is None or len(row) <= _SMALL:
        torch.cat(flat, out=row)
        if origin is not None:
            row.sub_(origin)
        return
    # One pass over memory instead of two.
    sizes = [len(g) for g in flat]
    for own, start, g in zip(torch.split(row, sizes), torch.split(origin, sizes), flat, strict=True):
        torch.sub(g, start, out=own)


def _flat(gradient: Tensor) -> Tensor:
    own = gradient.detach() if gradient.requires_grad else gradient
    return (own if own.layout is torch.strided else own.to_dense()).reshape(-1)


def require_scalar(name: str, found: Any) -> Tensor:
    """What a loss returned, seen to be a scalar that can be differentiated.

    Raises:
        SpecError: it is not.
    """
    if not isinstance(found, Tensor):
        raise _wrong(name, found)
    if found.numel() != 1:
        problem = f"'{name}' returns {list(found.shape)} values"
        raise SpecError("loss", problem, "return one number, e.g. its mean(), reduced as in training")
    if not found.is_floating_point():
        raise SpecError("loss", f"'{name}' returns {found.dtype}", "return a real number")
    if not found.requires_grad:
        problem = f"'{name}' returns a number that no parameter leads to"
        raise SpecError("loss", problem, "compute it from the parameters, not under torch.no_grad nor by .item()")
    return found.reshape(())


def require_groups(name: str, found: Any, trained: Trained) -> Mapping[str, Tensor]:
    """What a loss returned, seen to be a scalar for each group.

    Raises:
        SpecError: it is not.
    """
    if not isinstance(found, Mapping):
        raise _wrong(name, found)
    if set(found) != set(trained.groups):
        whole = found.get("loss")
        if isinstance(whole, Tensor) and "loss" not in trained.groups:
            raise SpecError("loss", f"'{name}' returns a dict of {_listed(found)}", "return its ['loss']")
        problem = f"'{name}' returns losses of {_listed(found)}, and the groups are {_listed(trained.groups)}"
        raise SpecError("groups", problem, "name the parameters of each: groups={'actor': actor, 'critic': critic}")
    return {group: require_scalar(f"{name}['{group}']", value) for group, value in found.items()}


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _wrong(name: str, found: Any) -> SnrkitError:
    what = "None and calls no backward" if found is None else f"a {type(found).__name__}"
    remedy = "return the scalar loss, or {group: scalar}"
    if isinstance(getattr(found, "loss", None), Tensor):
        remedy = "return its .loss"
    elif isinstance(found, list | tuple) and found and isinstance(found[0], Tensor) and found[0].numel() == 1:
        remedy = "return its first, if that is the loss: the scalar, or {group: scalar}"
    return SpecError("loss", f"'{name}' returns {what}", remedy)
