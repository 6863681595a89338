"""A whole measurement of several K at one image: its draws, and what is read of them."""

import time
from typing import Any

import torch

from analyses.speed.job import timed_draws
from analyses.speed.sections.reference import reference
from analyses.speed.sections.sizes import Sizes
from analyses.speed.sections.timing import seconds
from snrkit.diagnostics.measure import measure

ROUNDS, WITHIN_S = 3, 60.0


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row: the fastest of up to three."""
    every, draws = list(sizes.measured), next(iter(sizes.measured.values()))
    whole_and_drawn(every, min(draws, 100))  # what a process does once
    start, found = time.perf_counter(), [whole_and_drawn(every, draws)]
    while len(found) < ROUNDS and time.perf_counter() - start < WITHIN_S:
        found.append(whole_and_drawn(every, draws))
    whole, drawn = min(found)
    text = (
        "`measure(model, x, ['iwae'], K=..., draws=...)` on one image, blocks and all readings included. draws: within\n"
        "it, the moments of all draws, their noise, and log-weights. The fastest of as many measurements as are given."
    )
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else "not measured"
    row = {
        "K": ", ".join(f"{K:,}" for K in every), "draws of each": draws, "seconds": whole, "of it draws": drawn,
        "of it readings": whole - drawn, "measurements": len(found), "peak of the GPU, GB": peak,
    }  # fmt: skip
    return text, [row]


def whole_and_drawn(every: list[int], draws: int) -> tuple[float, float]:
    """Seconds of a measurement at every K, and of its draws."""
    model, x = reference()
    with timed_draws() as spent:
        whole = seconds(lambda: measure(model, x, ["iwae"], K=every, draws=draws))
    return whole, sum(spent)
