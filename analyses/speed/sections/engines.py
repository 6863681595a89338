"""Milliseconds per gradient draw: the hand-written loop and vmap, and the three engines."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from analyses.speed.sections import peers
from analyses.speed.sections.reference import DECODER, limit, reference
from analyses.speed.sections.sizes import Sizes
from analyses.speed.sections.timing import Call, interleaved, paced, seconds
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize, pass_size
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from snrkit.models.mlp import Mlp

# Engines that a section draws with once, and how many draws those that are slow make for one of the fast one's.
_FEWER = {"loop": 5, "vmap": 1}


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row per K."""
    model, x = reference()
    limits = limit()
    rows = [_row(model, x, K, max(limits.values()), sizes) for K in sizes.draws]
    speeds = ", ".join(f"{name} {value:.0f}" for name, value in limits.items())
    text = (
        "Milliseconds per gradient draw with the accumulation of its first and second moments. `loop` and `vmap` are\n"
        "written by hand in plain PyTorch (sections/peers.py), the chunk of vmap tuned in the same run; the engines are\n"
        "snrkit's, which draw reproducible noise and accumulate in float64.\n"
        f"The limit is the faster kernel's: GFLOP/s of the largest layer: {speeds}."
    )
    return text, rows


def _row(model: Mlp, x: Tensor, K: int, gflops: float, sizes: Sizes) -> dict[str, Any]:
    draws = sizes.draws[K]
    chunk = tuned_chunk(model, x, K, [c for c in sizes.chunks if c * K <= sizes.most_samples])
    calls = {
        "loop": paced(lambda n: lambda: peers.loop(model, x, K, n), 2, sizes.call_s, draws),
        "vmap": paced(lambda n: lambda: peers.vmap(model, x, K, n, chunk), chunk, sizes.call_s, draws),
    }
    if sizes.own_engines:
        fewer = {name: max(2, draws // by) for name, by in _FEWER.items()}
        calls |= {f"{name} engine": (engine(name, model, x, K, n), n) for name, n in fewer.items()}
    timing = interleaved(calls | {"factors engine": (engine("factors", model, x, K, draws), draws)}, sizes.row_s)
    ms = {name: found.median for name, found in timing.items()}
    fast = timing["factors engine"]
    return {
        "K": K, **ms, "vmap chunk": chunk,
        "faster peer / factors": min(ms["loop"], ms["vmap"]) / fast.median,
        "share of the limit": 3 * 2 * K * DECODER / 1e6 / gflops / fast.median,
        "factors, range": f"{fast.low:.3g} to {fast.high:.3g}", "rounds": fast.rounds, "rounds repeated": fast.repeated,
    }  # fmt: skip


def tuned_chunk(model: Mlp, x: Tensor, K: int, candidates: Sequence[int]) -> int:
    """The fastest chunk of the hand-written vmap: the better of two calls of one chunk each, after an unmeasured one."""

    def cost(chunk: int) -> float:
        return min([seconds(lambda: peers.vmap(model, x, K, chunk, chunk)) for _ in range(3)][1:]) / chunk

    return min(candidates, key=cost)


def engine(name: str, model: Mlp, x: Tensor, K: int, draws: int) -> Call:
    """A call that takes the moments of so many draws."""
    problem, estimator = Problem.units(model, x, K, Streams(0)), build_estimator("iwae", {})
    size: PassSize = pass_size(problem, estimator, None)
    built = ENGINES.load(name)()
    return lambda: built.moments(problem, estimator, range(1), range(draws), size)
