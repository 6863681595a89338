"""Batches that are drawn anew, each from a seed of its own."""

from collections.abc import Callable
from typing import Any

import torch

from snrkit.errors import SpecError
from snrkit.losses.batches import tensors_of
from snrkit.losses.seeding import Restart, Seeds
from snrkit.models.blame import users_code

# Batches that are compared with the first: of a few kinds some are alike by chance.
_TRIED = 3


class Batches:
    """Batches by number, from a function that gives another at each call.

    Args:
        draw: the function.
        seeds: what the global generators are set to before each call.
        restart: what the model keeps, which is put back before each call: the draws made so far say nothing of a batch.
    """

    def __init__(self, draw: Callable[[], Any], seeds: Seeds, restart: Restart) -> None:
        self._draw, self._seeds, self._restart = draw, seeds, restart
        self._first: Any = None  # a trial has it before the draws do
        self._moves = False  # whether drawing it moved what is put back
        self._alike = 0

    def draw(self, number: int) -> Any:
        """One batch.

        Raises:
            SpecError: there is none, or no more, or the first ones are one since their place is put back.
            ModelError: the function raised.
        """
        if number == 0 and self._first is not None:
            return self._first
        self._restart.moved() if self._moves else self._restart.back()
        self._seeds.set(number)
        with users_code("drawing a batch"):
            try:
                batch = self._draw()
            except StopIteration:
                problem = f"there is none left after {number}"
                raise SpecError("batch", problem, "give a function that never ends, or fewer draws") from None
        if batch is None:
            raise SpecError("batch", "the function returns None", "return the batch that the loss is called with")
        if number == 0:
            self._first, self._moves = batch, any(self._restart.moved())
        self._alike += self._moves and 0 < number <= _TRIED and _alike(batch, self._first)
        if self._alike == _TRIED:
            problem = (
                "goes on by what the model, or a module that the loss reaches, keeps, which is put back before each"
            )
            raise SpecError(
                "batch", problem, "keep its place outside of modules: in the function, or an object of its own"
            )
        return batch


def _alike(one: Any, other: Any) -> bool:
    pairs = list(zip(tensors_of(one), tensors_of(other), strict=False))
    return bool(pairs) and all(torch.equal(a, b) for a, b in pairs)
