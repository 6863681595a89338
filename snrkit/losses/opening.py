"""Parameters and losses made ready to be drawn from, tried, and left as they were."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.backend.kernels import full_precision, same_convolutions, uncached_autocast
from snrkit.backend.memory import keep_freed_memory
from snrkit.backend.shortage import shortage_told
from snrkit.core.streams import Streams
from snrkit.diagnostics.noise import Noise
from snrkit.diagnostics.store import digest_of
from snrkit.errors import SpecError
from snrkit.losses.around import Around, around
from snrkit.losses.asked import Asked
from snrkit.losses.batches import tensors_of
from snrkit.losses.gradient import Gradient, Loss
from snrkit.losses.keeping import Outside, is_large
from snrkit.losses.parameters import Trained, unwrapped
from snrkit.losses.seeding import Restart, Seeds
from snrkit.losses.trial import Found, Trial
from snrkit.models.state import Snapshot, in_mode, unchanged, uncompiled
from snrkit.specs.base import Mode


class Holder(nn.Module):
    """What a measurement must leave as it is: modules and parameters."""

    def __init__(self, modules: Sequence[nn.Module], others: Sequence[Tensor]) -> None:
        super().__init__()
        for place, module in enumerate(modules):
            self.add_module(f"part {place}", module)
        self.others = list(others)


@dataclass(frozen=True)
class Ready:
    """Losses that can be drawn from.

    Attributes:
        trained: the parameters.
        holder: all that is put back.
        losses: the losses by name.
        streams: root of all draws.
        held: parameters, buffers and small tensors, which take another type where that is tried.
        restart: the state that every draw begins with.
        beside: modules that the losses reach beside those measured.
        noise: shape of the noise that is an argument of the losses; None: they have none.
    """

    trained: Trained
    holder: Holder
    losses: Mapping[str, Loss]
    streams: Streams
    held: list[Tensor]
    restart: Restart
    beside: tuple[nn.Module, ...]
    noise: tuple[int, ...] | None
    seeds: Seeds = field(init=False)
    _numbers: Noise | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seeds", Seeds(self.streams, "loss"))
        tensor = self.trained.tensors[0]
        shape = None if self.noise is None else (1, 1, 1, *self.noise)
        made = None if shape is None else Noise(self.streams, shape, tensor.dtype, tensor.device)
        object.__setattr__(self, "_numbers", made)

    def digest(self) -> str:
        """Which parameters, and buffers, these are: as they were before the first draw."""
        self.restart.back()
        return digest_of([*self.trained.named.items(), *self.holder.named_buffers()])

    def trial(self, name: str, batch: Any) -> Found:
        """What a loss does; raises as ``Trial.find``."""
        own = self.noise_of(range(1))
        trial = Trial(name, self.losses[name], self.trained, self.holder, self.restart, self.seeds, self.beside)
        return trial.find(batch, None if own is None else own[0])

    def gradient(self, name: str, found: Found) -> Gradient:
        """Gradients of a loss that was tried."""
        return Gradient(name, self.losses[name], self.trained, self.holder, found.kind, found.hidden)

    def noise_of(self, draws: range) -> Tensor | None:
        """Standard normal noise of draws, ``[n, *shape]``, in the parameters' type."""
        return None if self._numbers is None else self._numbers.draw(0, draws)[:, 0, 0, 0]


@contextmanager
def opened(what: Asked) -> Iterator[Ready]:
    """Losses ready to be drawn from within the block, in full precision and with gradients; afterwards all is as before.

    Args:
        what: is asked; modules that the parameters were not given in keep their modes.

    Raises:
        SpecError: within ``torch.inference_mode``.
        ResourceError: memory ran out.
    """
    keep_freed_memory()
    if torch.is_inference_mode_enabled():
        raise SpecError("torch.inference_mode", "gradients cannot be drawn within it", "measure outside of it")
    trained, losses = what.trained, what.losses
    reached, apart = around(*losses.values(), *trained.modules), around(*([what.batch] if what.redrawn else []))
    mine = _beside(trained, reached.modules)
    theirs = _beside(trained, apart.modules, mine)
    beside = [*mine, *theirs]
    holder = Holder(trained.modules, trained.tensors)
    with (
        shortage_told(), unchanged(holder), in_modes(trained.modules, what.mode), full_precision(), uncached_autocast(),
        torch.enable_grad(), uncompiled(), same_convolutions(), _left(trained, reached, apart, theirs),
    ):  # fmt: skip
        restart = Restart([*trained.modules, *mine], trained.tensors, reached, apart)
        given = [tensor for tensor in tensors_of(what.batch) if tensor.is_leaf]
        with _left_beside([p for module in beside for p in module.parameters()] + given, restart):
            every = _casting(trained, beside, reached)
            yield Ready(trained, holder, losses, Streams(what.seed), every, restart, tuple(beside), what.noise)


def _beside(trained: Trained, reached: Sequence[nn.Module], others: Sequence[nn.Module] = ()) -> list[nn.Module]:
    own = {id(part) for module in (*trained.modules, *others) for part in module.modules()}
    found = [unwrapped(module) for module in reached]
    return [module for module in found if id(module) not in own]


def _casting(trained: Trained, beside: Sequence[nn.Module], reached: Around) -> list[Tensor]:
    """Tensors that take another type where that is tried: those given first, and each once."""
    held = [*trained.tensors, *(t for t in reached.tensors if t.is_leaf and not (t.is_nested or is_large(t)))]
    for module in (*trained.modules, *beside):
        held += [*module.parameters(), *module.buffers()]
    return list({id(tensor): tensor for tensor in held}.values())


@contextmanager
def _left(trained: Trained, reached: Around, apart: Around, theirs: Sequence[nn.Module]) -> Iterator[None]:
    """What losses and batches reach outside of modules is afterwards as before, generators too.

    So is what the modules keep that only batches come from, which go on while they are drawn.
    """
    own = {id(tensor) for tensor in trained.tensors}
    before: list[Outside | Snapshot] = [Outside(part, lambda value: id(value) in own) for part in (reached, apart)]
    before.append(Snapshot(nn.ModuleList(theirs), lambda value: isinstance(value, nn.Parameter) or is_large(value)))
    try:
        yield
    finally:
        for part in before:
            part.restore()


@contextmanager
def _left_beside(leaves: Sequence[Tensor], restart: Restart) -> Iterator[None]:
    """What a loss reaches is afterwards as before in what a call of it moves, and so are the gradients of other leaves.

    Parameters, which may be many, are not copied unless a trial shows that they move.
    """
    before = [(p, p.requires_grad, p.grad, None if p.grad is None else p.grad.detach().clone()) for p in leaves]
    try:
        yield
    finally:
        restart.moved()
        for parameter, wanted, gradient, content in before:
            if parameter.requires_grad != wanted:
                parameter.requires_grad_(wanted)
            parameter.grad = gradient
            if gradient is not None and content is not None:
                gradient.data.copy_(content)


@contextmanager
def in_modes(modules: Sequence[nn.Module], mode: Mode) -> Iterator[None]:
    """All modules in a mode within the block; see ``models.state.in_mode``."""
    if not modules:
        yield
        return
    with in_mode(modules[0], mode), in_modes(modules[1:], mode):
        yield
