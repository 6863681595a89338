"""Which part of a list of work one process of a job array takes. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """One of several processes that share a list of work out, each by itself: every item is in exactly one.

    Attributes:
        number: which one, from 1.
        of: how many there are.
    """

    number: int = 1
    of: int = 1

    def taken(self, items: Sequence[Item]) -> list[Item]:
        """Its items: they are dealt out in turn, so that every process takes as many as the others, to one."""
        return list(items[self.number - 1 :: self.of])

    @property
    def is_whole(self) -> bool:
        """Whether it takes all there is."""
        return self.of == 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"
