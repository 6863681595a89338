"""The global generators of torch, numpy and ``random`` as functions of the draw, and what a model keeps put back."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snrkit.core.streams import Streams
from snrkit.losses.around import NAMESPACES, Around
from snrkit.losses.keeping import Outside, is_foreign
from snrkit.models.inside import GENERATORS, packages_of
from snrkit.models.restoring import has_values, is_equal
from snrkit.models.state import Snapshot

# Seeds made at once: a stream costs more than a seed.
_PAGE = 1024
_WORDS = 4
# Sums in another order differ by less; another draw of noise by far more.
_ROUNDINGS = 100


class Seeds:
    """Seeds of every draw: functions of (seed, purpose, draw).

    Args:
        streams: the root.
        purpose: name of the stream.
    """

    def __init__(self, streams: Streams, purpose: str) -> None:
        self._streams, self._purpose = streams, purpose
        self._page, self._seeds = -1, np.empty((0, _WORDS), dtype=np.int64)

    def set(self, draw: int) -> None:
        """Set the generators to the beginning of a draw; whoever does puts them back in the end."""
        page, place = divmod(draw, _PAGE)
        if page != self._page:
            generator = self._streams.numpy(self._purpose, page)
            self._page, self._seeds = page, generator.integers(0, 2**32, (_PAGE, _WORDS), dtype=np.int64)
        high, low, numpys, pythons = self._seeds[place].tolist()
        torch.default_generator.manual_seed(high << 31 | low >> 1)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            for device in torch.cuda.default_generators:
                device.manual_seed(high << 31 | low >> 1)
        np.random.seed(numpys)
        random.seed(pythons)


class Restart:
    """What a model, and what a loss reaches beside it, keep from one call to the next: every draw begins with it as now.

    Buffers, attributes, containers, objects of a user's own classes, variables of functions. Generators are left alone, for
    a draw that began at the same place of one would be the same draw, and so is what the batches come from, which would all
    be one. All else that a loss moves shows in two draws from one seed that differ.

    Args:
        modules: the modules.
        trained: the parameters that are measured.
        reached: what the losses reach beside.
        apart: what draws batches, and is left alone.
    """

    def __init__(
        self, modules: Sequence[nn.Module], trained: Sequence[Tensor] = (), reached: Around | None = None,
        apart: Around | None = None,
    ) -> None:  # fmt: skip
        self._modules = {id(part): part for module in modules for part in module.modules()}
        self._parameters = {id(p): p for module in modules for p in module.parameters()} | {id(t): t for t in trained}
        self._trained = {id(tensor) for tensor in trained}
        self._apart = {id(value): value for value in (apart.values if apart else ())}
        self._tensors: list[tuple[Tensor, Tensor]] = []
        self._frozen: list[tuple[Tensor, Tensor]] = []
        held = nn.ModuleList(modules)
        self._packages = packages_of(held) | NAMESPACES
        self._inside = Snapshot(held, self._leave)
        self._within = len(self._tensors)
        self._outside = Outside(reached or Around(), self._leave, apart)
        self.needed = True

    @property
    def frozen(self) -> list[Tensor]:
        """Parameters of the modules that nobody trains."""
        others = [p for key, p in self._parameters.items() if key not in self._trained and not p.requires_grad]
        return [p for p in others if has_values(p)]

    def serve(self, moves: bool, frozen: bool) -> None:
        """Say what a trial has shown: whether a call moves what is kept here, and whether frozen parameters too."""
        self.needed = moves
        if frozen and not self._frozen:
            self._frozen = [(tensor, tensor.detach().clone()) for tensor in self.frozen]

    def moved(self) -> tuple[bool, bool]:
        """Put it back, and say whether what lies in the modules, and what lies outside, was not as before."""
        with torch.no_grad():
            inside = [self._inside.restore(), *(_back(*pair) for pair in self._tensors[: self._within])]
            outside = [self._outside.restore(), *(_back(*pair) for pair in self._tensors[self._within :])]
            inside += [_back(*pair) for pair in self._frozen]
        return any(inside), any(outside)

    def back(self) -> None:
        """Put it back, where a trial has shown that it moves."""
        if self.needed:
            self.moved()

    def _leave(self, value: Any) -> bool:
        if isinstance(value, Tensor):
            if id(value) not in self._parameters and has_values(value):
                self._tensors.append((value, value.detach().clone()))
            return True
        return isinstance(value, GENERATORS) or id(value) in self._apart or is_foreign(value, self._packages)


def _back(tensor: Tensor, kept: Tensor) -> bool:
    """Give a tensor its content back, in the type that it has now; returns whether it had another."""
    if tensor.shape != kept.shape:
        tensor.data = kept.clone()
        return True
    if tensor.dtype == kept.dtype and is_equal(tensor.detach(), kept):
        return False
    tensor.data.copy_(kept)
    return True


def same(one: Tensor, other: Tensor, eps: float) -> bool:
    """Whether two draws ``[P]`` from one seed are the same gradient, but for the order in which a device adds up.

    Args:
        one: a draw.
        other: a draw.
        eps: relative rounding of what they were computed in.
    """
    if torch.equal(one, other):
        return True
    return bool((one - other).norm() <= _ROUNDINGS * eps * torch.maximum(one.norm(), other.norm()))
