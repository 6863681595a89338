"""Measurements whose peak memory counts, each in a process of its own."""

import json
import subprocess
import sys
import time
from pathlib import Path


def run(job: str) -> dict[str, float]:
    """Carry out a job in a fresh process: its seconds, and the most memory that process ever held, MB."""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-m", __name__, job], cwd=root, check=True, capture_output=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _grid() -> float:
    from analyses.speed.sections.reference import reference
    from snrkit.diagnostics.measure import measure

    model, x = reference()
    start = time.perf_counter()
    measure(model, x, ["iwae"], K=[1, 10, 100, 1000], M=[1, 10, 100, 1000], draws=1000)
    return time.perf_counter() - start


def _one_draw(K: int) -> float:
    from analyses.speed.sections.engines import engine
    from analyses.speed.sections.reference import reference

    model, x = reference()
    call = engine("factors", model, x, K, 1)
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _peak() -> float:
    """The kernel's high-water mark of this process; getrusage's would include the parent's at the fork."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    from snrkit.backend.memory import keep_freed_memory

    keep_freed_memory()
    taken = _grid() if sys.argv[1] == "grid" else _one_draw(int(sys.argv[1]))
    print(json.dumps({"seconds": taken, "peak MB": _peak()}))
