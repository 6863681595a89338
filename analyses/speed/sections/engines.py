"""Milliseconds per gradient draw: the hand-written loop and vmap, and the three engines."""

from typing import Any

from torch import Tensor

from analyses.speed.sections import peers
from analyses.speed.sections.reference import DECODER, limit, reference
from analyses.speed.sections.timing import Call, interleaved, seconds
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize, pass_size
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from snrkit.models.mlp import Mlp

DRAWS = {1: 2000, 10: 600, 100: 150, 1000: 24}
CHUNKS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def run() -> tuple[str, list[dict[str, Any]]]:
    """One row per K."""
    model, x = reference()
    limits = limit()
    rows = [_row(model, x, K, max(limits.values())) for K in DRAWS]
    speeds = ", ".join(f"{name} {value:.0f}" for name, value in limits.items())
    text = (
        "Milliseconds per gradient draw with the accumulation of its first and second moments. `loop` and `vmap` are\n"
        "written by hand in plain PyTorch (sections/peers.py), the chunk of vmap tuned in the same run; the engines are\n"
        "snrkit's, which draw reproducible noise and accumulate in float64.\n"
        f"The limit is the faster kernel's: GFLOP/s of the largest layer: {speeds}."
    )
    return text, rows


def _row(model: Mlp, x: Tensor, K: int, gflops: float) -> dict[str, Any]:
    draws = DRAWS[K] * (10 if x.is_cuda else 1)
    # Draws one at a time take a GPU as long as many at once.
    few = max(2, min(draws // 5, 400))
    chunk = tuned_chunk(model, x, K, draws)
    timing = interleaved({
        "loop": (lambda: peers.loop(model, x, K, few), few),
        "vmap": (lambda: peers.vmap(model, x, K, draws, chunk), draws),
        "loop engine": (engine("loop", model, x, K, few), few),
        "vmap engine": (engine("vmap", model, x, K, draws), draws),
        "factors engine": (engine("factors", model, x, K, draws), draws),
    })  # fmt: skip
    ms = {name: found.median for name, found in timing.items()}
    fast = timing["factors engine"]
    return {
        "K": K, **ms, "vmap chunk": chunk,
        "faster peer / factors": min(ms["loop"], ms["vmap"]) / fast.median,
        "share of the limit": 3 * 2 * K * DECODER / 1e6 / gflops / fast.median,
        "factors, range": f"{fast.low:.3g} to {fast.high:.3g}", "rounds repeated": fast.repeated,
    }  # fmt: skip


def tuned_chunk(model: Mlp, x: Tensor, K: int, draws: int) -> int:
    """The fastest chunk of the hand-written vmap, each tried twice."""
    few = max(2, draws // 5)

    def cost(chunk: int) -> float:
        count = max(few, chunk)
        return min(seconds(lambda: peers.vmap(model, x, K, count, chunk)) for _ in range(2)) / count

    # A chunk's gradients and samples should fit in a few gigabytes.
    return min((c for c in CHUNKS if c <= 256 and c * K <= 32_000), key=cost)


def engine(name: str, model: Mlp, x: Tensor, K: int, draws: int) -> Call:
    """A call that takes the moments of so many draws."""
    problem, estimator = Problem.units(model, x, K, Streams(0)), build_estimator("iwae", {})
    size: PassSize = pass_size(problem, estimator, None)
    built = ENGINES.load(name)()
    return lambda: built.moments(problem, estimator, range(1), range(draws), size)
