"""What makes draws: single passes, or many at once."""

from typing import Any

import torch
from torch import Tensor

from snrkit.backend.memory import out_of_memory
from snrkit.losses.batched import Together, serves, together
from snrkit.losses.gradient import Gradient
from snrkit.losses.opening import Ready
from snrkit.losses.trial import Found

# Draws that vmap is tried on.
_TRIED = 3


class Maker:
    """Writes draws of one loss, each a function of its number alone.

    Args:
        ready: the losses.
        gradient: of one of them.
        at_once: how several draws are made at once; None: one by one.
        remarks: why they are not, where they might be.
    """

    def __init__(self, ready: Ready, gradient: Gradient, at_once: Together | None, remarks: list[str]) -> None:
        self._ready, self._gradient, self._at_once = ready, gradient, at_once
        self.remarks, self.engine = remarks, "loop" if at_once is None else "vmap"

    def write(self, draws: range, rows: Tensor, batch: Any, origin: Tensor | None = None) -> list[Tensor | None]:
        """Write draws to rows ``[n, P]``, less an origin ``[P]`` where there is one.

        Returns:
            The losses, None where they are not told.
        """
        if self._at_once is None:
            return [self.one(draw, row, batch, origin) for draw, row in zip(draws, rows, strict=True)]
        values = self._several(self._at_once, draws, rows, batch)
        if origin is not None:
            rows.sub_(origin)
        return list(values)

    def one(self, draw: int, row: Tensor, batch: Any, origin: Tensor | None = None) -> Tensor | None:
        """Write one draw by a pass of its own."""
        self._ready.restart.back()
        self._ready.seeds.set(draw)
        noise = self._ready.noise_of(range(draw, draw + 1))
        return self._gradient.into(row, batch, None if noise is None else noise[0], origin)

    def _several(self, at_once: Together, draws: range, rows: Tensor, batch: Any) -> Tensor:
        noise = self._ready.noise_of(draws)
        assert noise is not None
        try:
            found, values = at_once(noise, batch)
        except RuntimeError as error:
            if not out_of_memory(error) or len(draws) == 1:
                raise
            half = len(draws) // 2
            first = self._several(at_once, draws[:half], rows[:half], batch)
            return torch.cat([first, self._several(at_once, draws[half:], rows[half:], batch)])
        rows.copy_(found)
        return values


def maker(ready: Ready, name: str, found: Found, batch: Any) -> Maker:
    """What makes the draws of a loss that was tried on a batch; restart and generators are left anywhere."""
    gradient = ready.gradient(name, found)
    if ready.noise is None:
        return Maker(ready, gradient, None, [])
    at_once = None if found.moves else together(gradient, ready.trained)
    if at_once is None:
        return Maker(ready, gradient, None, [])
    noise = ready.noise_of(range(_TRIED))
    assert noise is not None
    wrong = serves(at_once, gradient, noise, batch, ready.trained)
    if wrong:
        return Maker(ready, gradient, None, [f"'{name}' is drawn one by one, since vmap cannot draw it ({wrong})"])
    return Maker(ready, gradient, at_once, [])
