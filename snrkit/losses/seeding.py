"""The global generators of torch, numpy and ``random`` as functions of the draw, and what a model keeps put back."""

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from snrkit.core.streams import Streams
from snrkit.models.inside import PLAIN

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
    """What a model keeps from one call to the next, as it is now: every draw begins there.

    Buffers and plain attributes; generators are left alone, for a draw that began at the same place of one would be the
    same draw. All else that a loss moves shows in two draws from one seed that differ.

    Args:
        modules: the modules.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        inside = list({id(part): part for module in modules for part in module.modules()}.values())
        self._buffers = [
            (module, name, tensor, tensor.detach().clone())
            for module in inside
            for name, tensor in module._buffers.items()
            if tensor is not None
        ]
        self._plain = [(module, _plain(module)) for module in inside]
        self.needed = True

    def moved(self) -> list[str]:
        """Names of what is not as it was."""
        buffers = [
            name
            for module, name, own, kept in self._buffers
            if module._buffers.get(name) is not own or not torch.equal(own, kept)
        ]
        return [*buffers, *(name for module, was in self._plain for name in _changed(was, _plain(module)))]

    def back(self) -> None:
        """Put it back, where a trial has shown that it moves."""
        if not self.needed:
            return
        with torch.no_grad():
            for module, name, own, kept in self._buffers:
                if module._buffers.get(name) is not own:
                    module._buffers[name] = own
                own.data.copy_(kept)
        for module, was in self._plain:
            now = _plain(module)
            if now != was:
                for name in now.keys() - was.keys():
                    del module.__dict__[name]
                module.__dict__.update(was)


def _plain(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in module.__dict__.items() if isinstance(value, PLAIN) and name != "training"}


def _changed(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [name for name in was.keys() | now.keys() if was.get(name) != now.get(name)]


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
