"""What workers cost beside their work, and from that how many of them are worth it.

Times are of the processor (``time.process_time``, one thread), which other processes on the machine hardly change. Whoever
asks takes in one result after another, so that this, and the network into it, is what more workers do not make faster.
"""

import math
import pickle
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from analyses.speed.sections.reference import PIXELS, reference
from snrkit.backend.kernels import chosen
from snrkit.backend.machine import Machine, threads
from snrkit.diagnostics import remote
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.store import Store
from snrkit.estimators.base import build_estimator
from snrkit.fleet.models import packed, to_bytes
from snrkit.fleet.orders import Order
from snrkit.models.base import LatentModel
from snrkit.models.mlp import Mlp
from snrkit.registry import makers
from snrkit.trial.statement import said_of

# Of a network of 1 Gbit/s and one of 10 Gbit/s, bytes per second.
NETWORKS = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9}
# Seconds that a block of draws may take.
LASTING = (2.0, 20.0)
# What a worker takes to load torch and this package.
_START = 2.0


def large() -> tuple[Mlp, Tensor]:
    """A model of 20 million parameters of the same kind, and one image."""
    torch.manual_seed(0)
    return Mlp(PIXELS, (2770, 2770), 50), (torch.rand(1, PIXELS) < 0.2).float()


def run(quick: bool) -> tuple[str, list[dict[str, Any]]]:
    """One row per model and network."""
    trips = overhead(20 if quick else 300)
    rows = []
    for name, (model, x), K, draws in (
        ("reference", tuple(part.cpu() for part in reference()), 64, 40 if quick else 1000),
        ("20 million", large(), 1 if quick else 64, 40 if quick else 200),
    ):
        found = costs(model, x, K, draws)
        for network, speed in NETWORKS.items():
            rows.append(
                {"model": name, "K": K, "draws": draws, **found, "network": network, **paying(found, speed, trips)}
            )
    text = (
        f"An empty task takes {1000 * trips['processes']:.1f} ms of the asking process with processes of this machine, and "
        f"{1000 * trips['dask']:.1f} ms with Dask, whose scheduler is in that process here. "
        "`block s`: CPU seconds of a block of draws on a worker, one thread; `MB`: of its result; "
        "`taken in s`: CPU seconds to check it where readings are made; "
        "`each s`: that, the empty task and the network together, one after another whatever the number of workers. "
        "`workers, blocks of 2 s`, `of 20 s`: that many keep the asking process busy, and more pay nothing; "
        "`1,000 pay from`: seconds that a block must take for 1,000 workers. "
        f"Workers begin in {_START:.0f} s and are sent the model once."
    )
    return text, rows


def costs(model: LatentModel, x: Tensor, K: int, draws: int) -> dict[str, float]:
    """CPU seconds and megabytes of one block."""
    job = Job(build_estimator("iwae", {}), 1, K, False, 1, draws)
    content = {
        "model": packed_plain(model), "x": x, "mode": "evaluation", "seed": 0, "engine": "factors", "chunk": None,
        "whole": False, "exchangeable": True, "said": said_of(model, x).plain,
        "made_by": makers(model, ENGINES.load("factors")),
    }  # fmt: skip
    cargo = to_bytes(content)
    block = job.blocks()[1]
    with threads(1):
        station = remote.station(cargo)
        remote.block(station, job, 0, len(job.blocks()[0]))  # looks for the way of drawing
        seconds, result = timed(lambda: remote.block(station, job, block.start, block.stop))
        store = Store(None, "")
        taken, _ = timed(lambda: store.read(result, block))
    return {
        "parameters": sum(p.numel() for p in model.parameters()), "block s": seconds, "MB": len(result) / 1e6,
        "model MB": len(cargo) / 1e6, "taken in s": taken,
    }  # fmt: skip


def packed_plain(model: LatentModel) -> dict[str, Any]:
    """The model as workers here are to have it."""
    return packed(model, None, "cloudpickle", torch.device("cpu"))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, the least of three, and the result."""
    found, least = None, math.inf
    for _ in range(3):
        start = time.process_time()
        found = call()
        least = min(least, time.process_time() - start)
    return least, found


def overhead(count: int) -> dict[str, float]:
    """CPU seconds of the asking process for an empty task, by kind of executor."""
    from distributed import Client, LocalCluster

    from snrkit.fleet.cluster import Cluster
    from snrkit.fleet.hands import Processes

    order = Order(
        "snrkit.fleet.orders:nothing",
        pickle.dumps(()),
        (),
        Machine.here(),
        1,
        chosen(torch.float32, torch.device("cpu")),
    )
    found = {}
    processes = Processes(2)
    found["processes"] = _each(lambda: processes.submit([order], {}), count)
    processes.close(now=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        )
        with cluster, Client(cluster, set_as_default=False) as client:
            hands = Cluster(client)
            found["dask"] = _each(lambda: hands.submit([order], {}), count)
    return found


def _each(submit: Callable[[], Any], count: int) -> float:
    for future in [submit() for _ in range(10)]:
        (answer,) = future.result()
        assert answer.error is None
    start = time.process_time()
    for future in [submit() for _ in range(count)]:
        future.result()
    return (time.process_time() - start) / count


def paying(found: dict[str, float], speed: float, trips: dict[str, float]) -> dict[str, float]:
    """From the costs of a block: up to how many workers pay."""
    each = found["taken in s"] + trips["dask"] + found["MB"] * 1e6 / speed
    lasting = {f"workers, blocks of {seconds:g} s": seconds / each for seconds in LASTING}
    return {"each s": each} | lasting | {"1,000 pay from": 1000 * each}
