"""One timed job, in a process of its own, of whatever checkout PYTHONPATH names: what ``against.py`` calls.

python analyses/speed/job.py NAME SECONDS: prints the milliseconds of each repetition as JSON. It uses only what has been in
snrkit since 0.2.0's first commit of this benchmark, so that old checkouts can be asked.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from snrkit.backend.memory import keep_freed_memory
from snrkit.models.mlp import Mlp

Job = Callable[[], float]
DRAWS = {1: 2000, 10: 600, 100: 150, 1000: 24}
# Draws behind the readings, which are read of 20 blocks, however many draws these hold.
READ = 40


def _reference() -> tuple[Mlp, torch.Tensor]:
    torch.manual_seed(0)
    return Mlp(784, (200, 200), 50), (torch.rand(1, 784) < 0.2).float()


def _clocked(work: Callable[[], object], items: int) -> Job:
    def job() -> float:
        start = time.perf_counter()
        work()
        return 1000 * (time.perf_counter() - start) / items

    return job


def draws(K: int) -> Job:
    """Milliseconds per draw of IWAE's gradient with its moments."""
    from snrkit.core.streams import Streams
    from snrkit.diagnostics.engines import ENGINES
    from snrkit.diagnostics.engines.base import pass_size
    from snrkit.diagnostics.problem import Problem
    from snrkit.estimators.base import build_estimator

    model, x = _reference()
    problem, estimator = Problem.units(model, x, K, Streams(0)), build_estimator("iwae", {})
    engine, size = ENGINES.load("factors")(), pass_size(problem, estimator, None)
    return _clocked(lambda: engine.moments(problem, estimator, range(1), range(DRAWS[K]), size), DRAWS[K])


def step() -> Job:
    """Milliseconds per training step: MIWAE, batch 20, M = K = 8."""
    from snrkit.data.base import Dataset
    from snrkit.runs.folder import RunDir
    from snrkit.specs.run import RunSpec
    from snrkit.training.opening import resolve_spec
    from snrkit.training.trainer import Trainer

    pixels = np.random.default_rng(0).integers(0, 256, (60_000, 784), dtype=np.uint8)
    dataset = Dataset("random", pixels, pixels[:10], "grey", (28, 28), "random bytes")
    spec = RunSpec.model_validate({"estimator": {"name": "miwae", "M": 8, "K": 8}, "batch_size": 20})
    run = RunDir(Path(tempfile.gettempdir()))
    trainer = Trainer(resolve_spec(spec, dataset), dataset, run, torch.device("cpu"), None)
    trainer.begin_epoch()
    return _clocked(lambda: [trainer.take_step() for _ in range(20)], 20)


def evaluation() -> Job:
    """Milliseconds per image of 5,000 samples."""
    from snrkit.core.streams import Streams
    from snrkit.evaluation.bounds import point_scores

    model, _ = _reference()
    x = (torch.rand(8, 784) < 0.2).float()
    return _clocked(lambda: point_scores(model, x, 5000, Streams(0)), len(x))


def readings() -> Job:
    """Milliseconds that a measurement of four K takes beside its draws."""
    from snrkit.diagnostics.measure import measure

    model, x = _reference()

    def job() -> float:
        with timed_draws() as spent:
            start = time.perf_counter()
            measure(model, x, ["iwae"], K=[1, 10, 100, 1000], draws=READ)
            return 1000 * (time.perf_counter() - start - sum(spent))

    return job


def measurement() -> Job:
    """Milliseconds of a whole measurement of three K, 200 draws each."""
    from snrkit.diagnostics.measure import measure

    model, x = _reference()
    return _clocked(lambda: measure(model, x, ["iwae"], K=[1, 10, 100], draws=200), 1)


@contextmanager
def timed_draws() -> Iterator[list[float]]:
    """Within the block the seconds are noted that measurements spend on gradients and on log-weights."""
    from snrkit.diagnostics.draws import Drawer
    from snrkit.diagnostics.worker import Worker

    spent: list[float] = []

    def timed(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            start = time.perf_counter()
            found = plain(*args)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent.append(time.perf_counter() - start)
            return found

        return call

    with ExitStack() as patches:
        for owner, name in ((Drawer, "moments"), (Worker, "weights")):
            patches.enter_context(patch.object(owner, name, timed(getattr(owner, name))))
        yield spent


JOBS: dict[str, Callable[[], Job]] = {
    **{f"draws-{K}": lambda K=K: draws(K) for K in DRAWS},  # type: ignore[misc]
    "step": step,
    "evaluation": evaluation,
    "readings": readings,
    "measurement": measurement,
}


def main() -> None:
    """Do the job once unmeasured, then again until the time is over."""
    name, limit = sys.argv[1], float(sys.argv[2])
    keep_freed_memory()
    job, start = JOBS[name](), time.perf_counter()
    job()
    found = [job()]
    while time.perf_counter() - start < limit:
        found.append(job())
    print(json.dumps(found))


if __name__ == "__main__":
    main()
