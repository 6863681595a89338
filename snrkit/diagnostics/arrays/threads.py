"""Work on several threads, whose results do not depend on how many there are."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def portions(count: int, threads: int) -> list[range]:
    """So many rows in portions: one, or a few for each thread."""
    step = count if threads == 1 else max(1, count // (4 * threads))
    return [range(start, min(start + step, count)) for start in range(0, count, step)]


def each(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Results in the order of the items."""
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]

    def few(portion: range) -> list[Result]:
        return [work(items[i]) for i in portion]

    with ThreadPoolExecutor(threads) as pool:
        return [result for found in pool.map(few, portions(len(items), threads)) for result in found]
