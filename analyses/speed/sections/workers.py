"""A measurement by two workers of one thread each beside one process of two threads, and whether its numbers are theirs."""

import re
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

import snrkit
from analyses.speed.sections.reference import reference
from snrkit.fleet.fleet import Fleet, fleet

WORKERS = 2
# Draws at each K of a measurement of about a minute.
K, DRAWS, QUICK_DRAWS = (10, 100, 1000), 2800, 40


def run(quick: bool) -> tuple[str, list[dict[str, Any]]]:
    """One row."""
    draws, rounds = (QUICK_DRAWS, 1) if quick else (DRAWS, 2)
    alone, shared = [], []
    with fleet(workers=WORKERS) as begun:
        if begun is None:
            raise RuntimeError("no workers")
        crew = Fleet(begun.hands, "cloudpickle")
        _measured(QUICK_DRAWS, 1, crew)  # workers load torch, and find how to draw
        for _ in range(rounds):
            alone.append(_measured(draws, WORKERS, None)[0])
            seconds, theirs = _measured(draws, 1, crew)
            shared.append(seconds)
        workers = _peak(child.pid for child in psutil.Process().children(recursive=True))
    lasting, plain = _measured(draws, 1, None)
    text = (
        f"IWAE on the reference model, one image, K = {', '.join(map(str, K))}, {draws} draws each, readings included, the "
        f"workers' start excluded; {rounds} rounds in turns, medians. `same`: whether the workers' table is that of one "
        "process of one thread, bit for bit."
    )
    return text, [{
        "one process, 2 threads, s": statistics.median(alone), "2 workers, 1 thread each, s": statistics.median(shared),
        "ratio": statistics.median(shared) / statistics.median(alone), "one process, 1 thread, s": lasting,
        "same": theirs.equals(plain),
        "peak MB, asking process": _peak([psutil.Process().pid]), "peak MB, largest worker": workers,
    }]  # fmt: skip


def _measured(draws: int, threads: int, crew: Fleet | None) -> tuple[float, Any]:
    model, x = reference()
    start = time.perf_counter()
    table = snrkit.measure(model.cpu(), x.cpu(), "iwae", K=K, draws=draws, threads=threads, executor=crew)
    return time.perf_counter() - start, table.drop(columns="seconds")


def _peak(processes: Iterable[int]) -> float:
    """The most memory that one of the processes has had, MB."""
    found = [re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{number}/status").read_text()) for number in processes]
    return max(int(each[1]) / 1000 for each in found if each)
