"""Interleaved timing: every contender once per round, medians over rounds, disturbed rounds repeated."""

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

# A round counts as disturbed if other processes took more than this share of the machine's time.
_DISTURBED = 0.1
_ROUNDS, _MOST_ROUNDS = 7, 15
# How often a contender is called at most, with the unmeasured round.
MOST_CALLS = _MOST_ROUNDS + 1

Call = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Milliseconds per item.

    Attributes:
        median: over the rounds.
        low, high: their range.
        repeated: rounds that were disturbed and repeated (at most 8; disturbed ones count after that).
        rounds: how many there were time for, 7 at most.
    """

    median: float
    low: float
    high: float
    repeated: int
    rounds: int


def interleaved(calls: Mapping[str, tuple[Call, int]], within: float = math.inf) -> dict[str, Timing]:
    """Time each call, given with how many items it does; one unmeasured round first, at least one measured.

    Args:
        calls: name to a call and its number of items.
        within: no round is begun after so many seconds.

    Returns:
        Name to milliseconds per item.
    """
    start = time.perf_counter()
    for call, _ in calls.values():
        seconds(call)
    times: dict[str, list[float]] = {name: [] for name in calls}
    repeated = done = 0
    while done < _ROUNDS and (not done or time.perf_counter() - start < within):
        before = _usage()
        found = {name: 1000 * seconds(call) / items for name, (call, items) in calls.items()}
        if _disturbed(before) and repeated < _MOST_ROUNDS - _ROUNDS and time.perf_counter() - start < within:
            repeated += 1
            continue
        done += 1
        for name, value in found.items():
            times[name].append(value)
    return {name: Timing(statistics.median(v), min(v), max(v), repeated, done) for name, v in times.items()}


def paced(make: Callable[[int], Call], unit: int, wanted: float, most: int) -> tuple[Call, int]:
    """A call that takes about so long, judged from one of the smallest, after an unmeasured one.

    Args:
        make: from a number of items to a call that does so many.
        unit: the smallest number of items; it does multiples of it.
        wanted: seconds.
        most: items, at most (but a unit at least).

    Returns:
        The call, and its number of items.
    """
    smallest = make(unit)
    seconds(smallest)
    units = min(most // unit, int(wanted / max(seconds(smallest), 1e-9)))
    items = unit * max(1, units)
    return make(items), items


def seconds(call: Call) -> float:
    """Wall time of one call, the GPU's work included."""
    start = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _usage() -> tuple[float, float, float]:
    """(wall, busy CPU seconds of the machine, CPU seconds of this process)."""
    fields = [float(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    busy = (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), busy, time.process_time()


def _disturbed(before: tuple[float, float, float]) -> bool:
    wall, busy, own = (now - then for now, then in zip(_usage(), before, strict=True))
    return busy - own > _DISTURBED * wall * (os.cpu_count() or 1)
