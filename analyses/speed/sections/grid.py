"""The grid of four K and four M by the unit algebra, against vmap drawing each (M, K) itself."""

from typing import Any

import torch
from torch import Tensor

from analyses.speed.sections import isolated, peers
from analyses.speed.sections.engines import tuned_chunk
from analyses.speed.sections.reference import reference
from analyses.speed.sections.timing import seconds
from snrkit.models.mlp import Mlp

GRID = (1, 10, 100, 1000)
CHUNKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
DRAWS = 1000
# Direct draws are timed up to so many samples per draw and taken as linear beyond.
MEASURED = 10_000


def run() -> tuple[str, list[dict[str, Any]]]:
    """One row for each way."""
    model, x = reference()
    ours = isolated.run("grid")
    costs = {(M, K): _direct(model, x, M, K) for M in GRID for K in GRID}
    theirs = DRAWS * sum(costs.values())
    text = (
        f"K and M each {GRID}, {DRAWS:,} draws, one image: `measure(...)` with its jackknife blocks and all its readings,\n"
        "in a process of its own, against the hand-written vmap drawing M K samples for each of the 16 settings. vmap is\n"
        f"timed up to M K = {MEASURED:,} and **extrapolated** linearly in M K beyond, and in the number of draws. The\n"
        "algebra gives variances of the same precision; a **mean** at M rests on R/M effective draws."
    )
    rows = [
        {"way": "snrkit, all M from M = 1", **ours, "ratio": theirs / ours["seconds"]},
        {"way": "vmap at each (M, K), extrapolated", "seconds": theirs, "peak MB": "not measured", "ratio": 1.0},
    ]
    return text, rows


def _direct(model: Mlp, x: Tensor, M: int, K: int) -> float:
    """Seconds per draw of the gradient of (1/M) sum_m log (1/K) sum_k w, measured or extrapolated."""
    affordable = min(M, max(1, MEASURED // K))
    chunk = tuned_chunk(model, x, affordable * K, [c for c in CHUNKS if c * affordable * K <= 32_000])
    draws = 3 * chunk

    def work() -> None:
        # The cost of M bounds of K samples is that of one bound of M K samples: the same matrix products.
        peers.vmap(model, x, affordable * K, draws, chunk)

    with torch.no_grad():
        work()
        return min(seconds(work) for _ in range(2)) / draws * M / affordable
