"""Milliseconds per gradient draw of each engine, interleaved in one process, on the reference model.

    make speed          on a CPU, or on CUDA where there is one

One binarised image, IWAE weights, float32, noise drawn beforehand for no engine (all make their own). The chunk of vmap is
tuned first, in the same run: a ratio to an untuned peer would be an artefact. Rounds in which other processes took more
than a tenth of the machine's time are repeated, up to a limit, and counted. Results: analyses/speed/results/DEVICE.json.
"""

import json
import os
import platform
import resource
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import PassSize, pass_size
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from snrkit.models.mlp import Mlp
from snrkit.streams import Streams

HERE = Path(__file__).parent
DRAWS = {1: 2000, 10: 400, 100: 80, 1000: 10}
CHUNKS = (1, 2, 4, 8, 16, 32, 64)
ROUNDS, MOST_ROUNDS, DISTURBED = 5, 15, 0.1


def main() -> None:
    """Measure every K and write the results."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = False
    model, x = _reference(device)
    limit = _matmul_limit(device)
    rows = [_measure(model, x, K, limit) for K in DRAWS]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    result = {
        "device": name, "processor": platform.processor() or platform.machine(), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "dtype": "float32", "rounds": ROUNDS, "gflops_of_linear": limit, "rows": rows,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip
    (HERE / "results").mkdir(exist_ok=True)
    path = HERE / "results" / f"{name.replace(' ', '-').lower()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    _print(result)


def _reference(device: torch.device) -> tuple[Mlp, Tensor]:
    torch.manual_seed(0)
    model = Mlp(784, (200, 200), 50).to(device)
    return model, (torch.rand(1, 784) < 0.2).float().to(device)


def _measure(model: Mlp, x: Tensor, K: int, limit: float) -> dict[str, Any]:
    problem, estimator = Problem.units(model, x, K, Streams(0)), build_estimator("iwae", {})
    engines = {name: ENGINES.load(name)() for name in ("loop", "vmap", "factors")}
    auto = pass_size(problem, estimator, None)
    draws = DRAWS[K] * (10 if x.is_cuda else 1)

    def seconds(name: str, size: PassSize, count: int) -> float:
        start = time.perf_counter()
        engines[name].moments(problem, estimator, range(1), range(count), size)
        if x.is_cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    few = max(2, draws // 5)
    tuned = min(CHUNKS, key=lambda c: min(seconds("vmap", PassSize(c, auto.samples), few) for _ in range(2)))
    sizes = {"loop": auto, "vmap": PassSize(tuned, auto.samples), "factors": auto}
    times: dict[str, list[float]] = {name: [] for name in engines}
    repeated = 0
    for name in engines:
        seconds(name, sizes[name], few)
    while len(times["loop"]) < ROUNDS:
        before = _other_time()
        found = {name: seconds(name, sizes[name], few if name == "loop" else draws) for name in engines}
        if _disturbed(before) and repeated < MOST_ROUNDS - ROUNDS:
            repeated += 1
            continue
        for name, value in found.items():
            times[name].append(1000 * value)
    return _row(K, tuned, repeated, times, limit)


def _row(K: int, tuned: int, repeated: int, times: dict[str, list[float]], limit: float) -> dict[str, Any]:
    ms = {name: statistics.median(values) for name, values in times.items()}
    # Forward, cotangents of inputs, and sums of outer products: three matmuls per decoder layer and sample.
    flops = 3 * 2 * K * (50 * 200 + 200 * 200 + 200 * 784)
    return {
        "K": K, "vmap_chunk": tuned, "rounds_repeated": repeated, "ms_per_draw": ms,
        "spread": {name: [min(v), max(v)] for name, v in times.items()},
        "ratio_to_faster_peer": min(ms["loop"], ms["vmap"]) / ms["factors"],
        "share_of_matmul_limit": flops / 1e9 / (limit * ms["factors"] / 1000),
    }  # fmt: skip


def _matmul_limit(device: torch.device) -> float:
    """GFLOP/s of the largest layer's matmul, the better of F.linear and a 1x1 convolution (oneDNN on a CPU)."""
    n, k, o = 2048, 200, 784
    x, w = torch.randn(n, k, device=device), torch.randn(o, k, device=device)
    image = x.view(1, n, 1, k).permute(0, 3, 1, 2)
    best = float("inf")
    for call in (
        lambda: torch.nn.functional.linear(x, w),
        lambda: torch.nn.functional.conv2d(image, w[:, :, None, None]),
    ):
        for _ in range(30):
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - start)
    return 2 * n * k * o / best / 1e9


def _other_time() -> tuple[float, float, float]:
    """(wall, busy CPU seconds of the machine, CPU seconds of this process)."""
    fields = [float(part) for part in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    busy = (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), busy, time.process_time()


def _disturbed(before: tuple[float, float, float]) -> bool:
    wall, busy, own = (now - then for now, then in zip(_other_time(), before, strict=True))
    return busy - own > DISTURBED * wall * (os.cpu_count() or 1)


def _print(result: dict[str, Any]) -> None:
    print(
        f"{result['device']}, {result['threads']} threads, torch {result['torch']}, float32; ms per draw, median of {ROUNDS}"
    )
    print(
        "| K | loop | vmap (chunk) | factors | ratio to the faster peer | share of the matmul limit | rounds repeated |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in result["rows"]:
        ms = row["ms_per_draw"]
        print(
            f"| {row['K']} | {ms['loop']:.3g} | {ms['vmap']:.3g} ({row['vmap_chunk']}) | {ms['factors']:.3g} "
            f"| {row['ratio_to_faster_peer']:.2f} | {row['share_of_matmul_limit']:.2f} | {row['rounds_repeated']} |"
        )
    print(f"peak memory {result['peak_memory_mb']:.0f} MB")


if __name__ == "__main__":
    main()
