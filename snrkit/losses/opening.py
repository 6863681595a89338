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
from snrkit.losses.around import around
from snrkit.losses.gradient import Gradient, Loss
from snrkit.losses.parameters import Trained, unwrapped
from snrkit.losses.seeding import Restart, Seeds
from snrkit.losses.trial import Found, Trial
from snrkit.models.state import in_mode, unchanged, uncompiled
from snrkit.specs.base import Mode

# Tensors in a loss's closure that are remembered, in numbers: data sets lie there too, and are not to be copied.
_SMALL = 2**22


class Holder(nn.Module):
    """What a measurement must leave as it is: modules and parameters, and small things that the losses reach beside them."""

    def __init__(self, modules: Sequence[nn.Module], others: Sequence[Any]) -> None:
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
def opened(
    trained: Trained, losses: Mapping[str, Loss], seed: int, mode: Mode, noise: tuple[int, ...] | None
) -> Iterator[Ready]:
    """Losses ready to be drawn from within the block, in full precision and with gradients; afterwards all is as before.

    Args:
        trained: the parameters.
        losses: by name.
        seed: root of the draws.
        mode: of the modules that the parameters were given in; others keep theirs.
        noise: shape of the noise that is an argument.

    Raises:
        SpecError: within ``torch.inference_mode``.
        ResourceError: memory ran out.
    """
    keep_freed_memory()
    if torch.is_inference_mode_enabled():
        raise SpecError("torch.inference_mode", "gradients cannot be drawn within it", "measure outside of it")
    reached = list({id(part): part for loss in losses.values() for part in around(loss)}.values())
    small = [part for part in reached if isinstance(part, Tensor) and part.is_leaf and part.numel() <= _SMALL]
    generators = [part for part in reached if not isinstance(part, nn.Module | Tensor)]
    own = {id(module) for module in trained.modules}
    beside = [unwrapped(part) for part in reached if isinstance(part, nn.Module) and id(unwrapped(part)) not in own]
    holder = Holder(trained.modules, [*trained.tensors, *small, *generators])
    held = [*trained.tensors, *small]
    for module in (*trained.modules, *beside):
        held += [*module.parameters(), *module.buffers()]
    every = list({id(tensor): tensor for tensor in held}.values())
    with (
        shortage_told(), unchanged(holder), in_modes(trained.modules, mode), full_precision(), uncached_autocast(),
        torch.enable_grad(), uncompiled(), same_convolutions(), _left(beside),
    ):  # fmt: skip
        restart = Restart([*trained.modules, *beside])
        yield Ready(trained, holder, losses, Streams(seed), every, restart, tuple(beside), noise)


@contextmanager
def _left(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Modules that a loss reaches are afterwards as before in what a call of it moves: buffers, attributes and gradients.

    Their parameters, which may be many, are not copied: a loss that changes them is refused at its trial.
    """
    start = Restart(modules)
    gradients = [
        (p, p.grad, None if p.grad is None else p.grad.detach().clone())
        for module in modules
        for p in module.parameters()
    ]
    try:
        yield
    finally:
        start.back()
        for parameter, gradient, content in gradients:
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
