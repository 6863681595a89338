"""A Dask scheduler that dies in the middle of a measurement, and comes back under the same address."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from snrkit.diagnostics.measure import diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.fleet.cluster import Cluster
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.fleet.fleet import Fleet
from snrkit.specs.measure import Execution
from tests.fleet.test_measuring import same
from tests.zoo import toy

PLAN = Plan(estimators="iwae", K=(1000, 2000), draws=400, how=Execution(threads=1))


@contextmanager
def cluster(port):
    """A scheduler and two workers on the loopback, which are killed in the end."""
    address = f"tcp://127.0.0.1:{port}"
    python = [sys.executable, "-m"]
    scheduler = [
        *python,
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--no-dashboard",
    ]
    worker = [*python, "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    begun = [subprocess.Popen(command, **quiet) for command in (scheduler, worker, worker)]
    try:
        yield address, begun
    finally:
        for process in begun:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_killed_and_comes_back_changes_nothing():
    pytest.importorskip("distributed")
    model, x = toy(dim=3)
    alone = diagnose(model, x, PLAN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = []
    with cluster(port) as (address, _):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                hands = Cluster.at(address)
                break
            except Exception:
                time.sleep(1)
        elsewhere = Elsewhere(Fleet(hands, "cloudpickle"))
        measuring = threading.Thread(target=lambda: found.append(diagnose(model, x, PLAN, elsewhere=elsewhere)))
        measuring.start()
        time.sleep(3)
    assert measuring.is_alive()  # and its scheduler is gone
    with cluster(port):
        measuring.join(120)
        hands.close(now=True)
    assert same(found[0], alone)
