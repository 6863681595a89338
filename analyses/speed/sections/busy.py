"""A measurement beside processes that want the cores too: how it fares by how its threads wait for one another."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analyses.speed.sections.sizes import Sizes
from snrkit.backend.threads import ASKED, TIMES

JOB = Path(__file__).parents[1] / "job.py"
ROOT = JOB.parents[2]
# As many threads that compute without end as a machine has cores: with a measurement's own the load is twice the cores.
SPIN = "while True: pass"
LIMIT_S = 60.0


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row per way to wait."""
    cores = len(os.sched_getaffinity(0))
    ways: dict[str, dict[str, str]] = {
        "OpenMP's default (300,000 times)": {}, f"snrkit's ({int(ASKED):,} times)": {TIMES: ASKED},
        "one thread": {"OMP_NUM_THREADS": "1"},
    }  # fmt: skip
    quiet: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(sizes.busy_rounds):
        for name, setting in ways.items():
            quiet[name].append(seconds(setting, 0))
        for name, setting in ways.items():
            busy[name].append(seconds(setting, cores))
    fastest = statistics.median(quiet["OpenMP's default (300,000 times)"])
    text = (
        f"Seconds of a measurement (IWAE, K = 1, 10, 100, 200 draws each, one image, readings included) alone and beside\n"
        f"{cores} processes that compute without end, by how often a thread asks for the others before it sleeps. Each in\n"
        f"a process of its own, in turns, {sizes.busy_rounds} rounds, medians; more than {LIMIT_S:g} s counts as that."
    )
    rows = []
    for name in ways:
        alone, beside = statistics.median(quiet[name]), statistics.median(busy[name])
        rows.append({
            "a thread that waits asks": name, "alone, s": alone, "beside others, s": beside, "ratio": beside / alone,
            "beside others / default alone": beside / fastest, "worst beside others, s": max(busy[name]),
        })  # fmt: skip
    return text, rows


def seconds(setting: Mapping[str, str], others: int) -> float:
    """Of one measurement with such an environment, beside so many busy processes."""
    decided = (TIMES, "OMP_WAIT_POLICY", "OMP_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in decided}
    crowd = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(others)]
    try:
        return _timed(
            [sys.executable, str(JOB), "measurement", "0"], environment | {"PYTHONPATH": str(ROOT), **setting}
        )
    finally:
        for process in crowd:
            process.kill()
            process.wait()


def _timed(command: Sequence[str], environment: Mapping[str, str]) -> float:
    try:
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return LIMIT_S
    return min(json.loads(done.stdout.splitlines()[-1])) / 1000
