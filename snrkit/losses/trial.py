"""A loss called a few times before the first draw: what it gives, what it moves, whether its seed repeats it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.backend.kernels import Casts
from snrkit.backend.process import Generators
from snrkit.core.backward import hides_parameters, leaves
from snrkit.errors import CapabilityError, NonFiniteError, SpecError
from snrkit.losses.batches import tensors_of
from snrkit.losses.gradient import Gradient, Kind, Loss, require_groups, require_scalar
from snrkit.losses.parameters import Trained
from snrkit.losses.seeding import Restart, Seeds, same
from snrkit.models.blame import users_code
from snrkit.models.restoring import UNINITIALISED

# Names in a remark.
_NAMED = 3


@dataclass(frozen=True)
class Found:
    """What a trial says of a loss.

    Attributes:
        kind: how it gives its gradient.
        hidden: whether parameters are out of the graph's sight.
        moves: whether the model, or what lies around it, is not as before after a call, so that it is put back before each.
        frozen: whether that holds of parameters that are not trained too.
        outside: whether that holds of what lies outside of modules.
        reproducible: whether a seed gives the same gradient twice.
        random: whether it drew from a global generator, or had noise as an argument.
        narrowest: the type with the largest rounding that it computed in.
        unused: names of parameters that got no gradient.
    """

    kind: Kind
    hidden: bool
    moves: bool
    frozen: bool
    outside: bool
    reproducible: bool
    random: bool
    narrowest: torch.dtype
    unused: tuple[str, ...]

    def remarks(self, name: str) -> list[str]:
        """What a user should know, in sentences."""
        said = []
        if not self.reproducible:
            said.append(
                f"'{name}' gives another gradient when it is called twice with one seed, so it draws from a generator "
                "of its own or goes on with something that it keeps: its readings hold, another call will not repeat them"
            )
        elif not self.random:
            said.append(
                f"'{name}' draws from no generator of torch, numpy or random: unless it keeps one, its gradient has no noise"
            )
        if self.outside:
            said.append(
                f"'{name}' changes what it keeps outside of the model, and every draw begins with that as it is now: batches"
                " that it takes from there one after another are the same one in all draws; give a function, as batch="
            )
        if self.unused:
            more = len(self.unused) - _NAMED
            few = ", ".join(self.unused[:_NAMED]) + (f" and {more} more" if more > 0 else "")
            said.append(f"'{name}' gives no gradient to {few}, which is read as zero")
        return said


class Trial:
    """Calls of a loss that find out what it does.

    Args:
        name: of the loss.
        loss: what a user gave.
        trained: the parameters.
        holder: a module that has all modules and parameters concerned; its state is put back by whoever opened it.
        restart: the state that every call begins with.
        seeds: of the draws.
        reached: modules that the loss reaches beside those measured.
    """

    def __init__(
        self, name: str, loss: Loss, trained: Trained, holder: nn.Module, restart: Restart, seeds: Seeds,
        reached: Sequence[nn.Module] = (),
    ) -> None:  # fmt: skip
        self._name, self._loss, self._trained, self._holder = name, loss, trained, holder
        self._restart, self._seeds, self._reached = restart, seeds, reached

    def find(self, batch: Any, noise: Tensor | None = None) -> Found:
        """Try the loss on a batch.

        Raises:
            SpecError: what it gives cannot be measured, or it changes parameters or its batch.
            ModelError: its code raised.
            NonFiniteError: its gradient is NaN or infinite.
            CapabilityError: a hook would run at every draw.
        """
        before, held, reached, frozen = (
            [(tensor, tensor.detach().clone()) for tensor in several]
            for several in (
                self._trained.tensors, tensors_of(batch), self._parameters_reached(), self._restart.frozen
            )
        )  # fmt: skip
        self._begin()
        generators, casts = Generators(), Casts()
        try:
            with users_code(f"'{self._name}'"):
                kind, hidden, unused = self._kind(batch, noise, casts)
        finally:
            changed, is_frozen_moved = _put_back(reached), _put_back(frozen)
        drawn = bool(generators.advanced()) or noise is not None
        self._require_left(before, held)
        if changed:
            problem = f"'{self._name}' changes parameters of a module that it uses beside those measured"
            remedy = "leave out the optimiser's step; freeze what is a moving average: requires_grad_(False)"
            raise SpecError("loss", problem, remedy)
        moves, outside = self._restart.moved()
        self._restart.serve(True, is_frozen_moved)
        gradient = Gradient(self._name, self._loss, self._trained, self._holder, kind, hidden)
        rows = torch.zeros(2, self._trained.layout.size, dtype=self._trained.dtype, device=self._trained.device)
        for row in rows:
            self._begin()
            with users_code(f"'{self._name}'"):
                gradient.into(row, batch, noise)
        if not bool(torch.isfinite(rows).all()):
            raise NonFiniteError("loss", f"the gradient of '{self._name}' is NaN or infinite", "check its parameters")
        own = self._trained.own
        narrowest = max({own, *casts.of(own)}, key=lambda dtype: torch.finfo(dtype).eps)
        alike = same(rows[0], rows[1], torch.finfo(narrowest).eps)
        moves = moves or outside or is_frozen_moved
        return Found(kind, hidden, moves, is_frozen_moved, outside, alike, drawn, narrowest, unused)

    def _parameters_reached(self) -> list[Tensor]:
        """Trained parameters that the loss reaches beside those measured, each once."""
        own = {id(tensor) for tensor in self._trained.tensors}
        found = {id(tensor): tensor for module in self._reached for tensor in module.parameters()}
        valued = (t for t in found.values() if not isinstance(t, UNINITIALISED) and not t.is_meta and t.requires_grad)
        return [tensor for tensor in valued if id(tensor) not in own]

    def _begin(self) -> None:
        self._restart.back()
        self._seeds.set(0)

    def _kind(self, batch: Any, noise: Tensor | None, casts: Casts) -> tuple[Kind, bool, tuple[str, ...]]:
        """How the loss gives its gradient, whether a checkpoint hides parameters, and which parameters get none."""
        for tensor in self._trained.tensors:
            tensor.grad = None
        gradient = Gradient(self._name, self._loss, self._trained, self._holder)
        gradient.require_call(batch, noise)
        with casts:
            found = gradient.call(batch, noise)
        if any(tensor.grad is not None for tensor in self._trained.tensors):
            self._require_no_hooks()
            self._require_no_rest(found)
            return "backward", False, tuple(n for n, t in self._trained.named.items() if t.grad is None)
        values: Mapping[str, Tensor]
        if isinstance(found, Mapping):
            kind: Kind = "groups"
            values = require_groups(self._name, found, self._trained)
            wanted = {group: self._trained.groups[group] for group in values}
        else:
            kind, values = "scalar", {"": require_scalar(self._name, found)}
            wanted = {"": list(self._trained.named)}
        hidden = hides_parameters(list(values.values()))
        if hidden:
            self._require_no_hooks()
            return kind, True, ()
        return kind, False, self._unused(values, wanted)

    def _unused(self, values: Mapping[str, Tensor], wanted: Mapping[str, list[str]]) -> tuple[str, ...]:
        got: set[str] = set()
        for group, value in values.items():
            names = wanted[group]
            tensors = [self._trained.named[name] for name in names]
            found = torch.autograd.grad(value, tensors, retain_graph=True, allow_unused=True)
            got |= {name for name, gradient in zip(names, found, strict=True) if gradient is not None}
        if not got:
            problem = f"'{self._name}' does not depend on the parameters given"
            raise SpecError(
                "loss", problem, "give the parameters that it is computed from, and use those that it is given"
            )
        return tuple(name for name in self._trained.named if name not in got)

    def _require_no_hooks(self) -> None:
        for name, tensor in self._trained.named.items():
            if tensor._post_accumulate_grad_hooks:
                problem = f"'{name}' has a hook on its accumulated gradient, which would run at every draw"
                raise CapabilityError("model_or_parameters", problem, "remove the hook, or return the loss")

    def _require_no_rest(self, found: Any) -> None:
        """See to it that what a loss returns beside calling ``backward`` is no loss of other parameters.

        Raises:
            SpecError: it is, and so would be left out.
        """
        values = found.values() if isinstance(found, Mapping) else [found]
        reached = {id(leaf) for leaf in leaves([v for v in values if isinstance(v, Tensor) and v.requires_grad])}
        rest = [name for name, t in self._trained.named.items() if t.grad is None and id(t) in reached]
        if rest:
            problem = (
                f"'{self._name}' calls backward, but not of what it returns, which reaches {', '.join(rest[:_NAMED])}"
            )
            raise SpecError(
                "loss", problem, "call backward of every part, or return {group: scalar} and call it of none"
            )

    def _require_left(self, before: list[tuple[Tensor, Tensor]], held: list[tuple[Tensor, Tensor]]) -> None:
        """See to it that a call left parameters and batch as they were.

        Raises:
            SpecError: it did not.
        """
        for name, (tensor, was) in zip(self._trained.named, before, strict=True):
            if not _equal(tensor, was):
                problem = f"'{self._name}' changes the parameter '{name}'"
                remedy = (
                    "leave out the optimiser's step; freeze what is a moving average: requires_grad_(False); "
                    "what sets itself at its first call is to be called once before"
                )
                raise SpecError("loss", problem, remedy)
        if any(not _equal(now, was) for now, was in held):
            raise SpecError("batch", f"is changed in place by '{self._name}'", "work on a clone of it")


def _put_back(reached: list[tuple[Tensor, Tensor]]) -> bool:
    """Give parameters the values that they had; returns whether they had others."""
    changed = [(now, was) for now, was in reached if not _equal(now, was)]
    for now, was in changed:
        now.data.copy_(was)
    return bool(changed)


def _equal(now: Tensor, was: Tensor) -> bool:
    if now.shape != was.shape or now.dtype != was.dtype:
        return False
    return torch.equal(now, was) or bool(torch.isclose(now, was, rtol=0, atol=0, equal_nan=True).all())
