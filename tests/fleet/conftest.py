"""Workers, begun once for all tests: processes of a pool, and a Dask cluster on the loopback."""

import warnings
from concurrent.futures import ProcessPoolExecutor

import pytest

from snrkit.fleet.fleet import Fleet
from snrkit.fleet.hands import Processes, _context


@pytest.fixture(scope="session")
def pool():
    """An executor of the standard library, of two processes.

    They come out of the server that those of our own come out of: there is one in a process, and begun without torch it made
    each of them load torch by itself.
    """
    with ProcessPoolExecutor(2, _context()) as executor:
        yield executor


@pytest.fixture(scope="session")
def processes():
    """Two processes of our own."""
    hands = Processes(2)
    yield Fleet(hands)
    hands.close(now=True)


@pytest.fixture(scope="session")
def client():
    """A Dask cluster of two workers of one thread."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask's own and of its libraries
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
        )
        client = distributed.Client(cluster, set_as_default=False)
        yield client
        client.close()
        cluster.close()
