"""Workers of a Dask cluster."""

import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Future
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from snrkit.backend.machine import Machine
from snrkit.errors import ResourceError, SpecError
from snrkit.fleet.hands import Answers, Hands, threads_refused, unfit
from snrkit.fleet.orders import Cargo, Order, probe, require_same, serve_all

if TYPE_CHECKING:
    from distributed import Client

_LOG = logging.getLogger("snrkit")
# Seconds in which a scheduler must answer, and a first worker be there; after a loss, and at the beginning.
_CONNECT, _WAIT = 10, 60
# Bytes of arguments from which on they go to a worker and not through the scheduler.
_LARGE = 2**18
# Seconds for which the number of workers is taken as known.
_FRESH = 5.0
_MEMORY = "most often memory runs out: see the workers' logs"
_START = "start one: dask scheduler; and workers: dask worker ADDRESS --nworkers N --nthreads 1"


class Cluster(Hands):
    """The workers of a Dask cluster.

    Args:
        client: connected to it; it is the caller's to close.
        address: where to connect anew if the scheduler is lost; None: that is left to the client.

    Raises:
        SpecError: its workers are threads of this process, lack a package, or are not alike.
        ResourceError: it has no worker, or does not answer.
    """

    def __init__(self, client: "Client", address: str | None = None) -> None:
        self._client, self._address = client, address
        self._executor = client.get_executor(pure=False)
        self._there: dict[str, Any] = {}
        self._asked, self._threads = -math.inf, 1
        self.machine = self._seen()

    @classmethod
    def at(cls, address: str) -> Self:
        """A cluster by the address of its scheduler, for this alone.

        Raises:
            SpecError: that is no address, or Dask is not installed.
            SnrkitError: as for the class.
        """
        client = _connected(address, _CONNECT)
        try:
            return cls(client, address)
        except BaseException:
            client.close(timeout=2)
            raise

    @property
    def workers(self) -> int:
        """Orders at once: threads of all workers, as they were some seconds ago or, of a scheduler that is lost, before."""
        if time.monotonic() - self._asked > _FRESH:
            self._asked = time.monotonic()
            with suppress(Exception):  # what it raises differs between its versions; a loss shows in what was submitted
                self._threads = int(sum(self._client.nthreads().values()))
        return max(1, self._threads)

    def _seen(self) -> Machine:
        """See to it that all workers are alike.

        Raises:
            SpecError, ResourceError: as for the class.
        """
        self._await_workers()
        if any(threads > 1 for threads in self._client.nthreads().values()):
            problem = "a worker takes several orders at once, and threads of a process are in each other's way"
            raise SpecError("scheduler", problem, "start workers with --nthreads 1, as many as there are cores")
        found = self._client.run(probe, on_error="return")
        for error in found.values():
            if isinstance(error, BaseException):
                raise unfit(error) from error
        if any(process == os.getpid() for _, process in found.values()):
            raise threads_refused()
        first: Machine
        first, *others = (machine for machine, _ in found.values())
        for other in others:
            require_same(first, other)
        here = Machine.here()
        require_same(Machine(**{**vars(first), **here.software}), first)
        if first != here:
            told = "drawn on %s, read on %s: last bits may differ from those of one machine"
            _LOG.warning(told, first.hardware, here.hardware)
        return first

    def _await_workers(self) -> None:
        where = self._address or "the cluster"
        try:
            if not self._client.nthreads():
                _LOG.warning("scheduler: %s has no worker yet; one is waited for %d s", where, _WAIT)
            self._client.wait_for_workers(1, timeout=_WAIT)
        except Exception as error:  # what it raises differs between its versions
            raise ResourceError("scheduler", f"no worker of {where} in {_WAIT} s", _START) from error

    def submit(
        self,
        orders: Sequence[Order],
        cargos: Mapping[str, Cargo],
        missing: tuple[str, ...] = (),  # noqa: ARG002
    ) -> Answers:
        """A cargo is handed to the cluster once, and its workers have it of one another; so are large arguments."""
        try:
            for digest, cargo in cargos.items():
                if digest not in self._there:
                    self._there[digest] = self._client.scatter(cargo.content, hash=False)
            large = [place for place, order in enumerate(orders) if len(order.arguments) > _LARGE]
            beside = {place: self._client.scatter(orders[place].arguments, hash=False) for place in large}
            small = [replace(order, arguments=b"") if place in beside else order for place, order in enumerate(orders)]
            found: Answers = self._executor.submit(serve_all, small, {d: self._there[d] for d in cargos}, beside)
        except (OSError, RuntimeError, CancelledError, TimeoutError) as error:  # the scheduler is not there
            found = Future()
            found.set_exception(BrokenExecutor(str(error)))
        return found

    def is_loss(self, error: BaseException) -> bool:
        """Whether it is of Dask's own: a worker or the scheduler that is gone."""
        if type(error).__name__ == "KilledWorker":
            tries = getattr(error, "allowed_failures", 0) + 1
            problem = f"workers end in the middle of their work, {tries} times at the same place"
            raise ResourceError("scheduler", problem, _MEMORY) from error
        return isinstance(error, BrokenExecutor | OSError) or type(error).__name__ in (
            "FutureCancelledError",
            "CommError",
        )

    def renew(self) -> None:
        """Hand everything to the cluster again, once it is there."""
        self._there.clear()
        if self._client.status != "running" and self._address is not None:
            _LOG.warning("scheduler %s: is lost, and waited for %d s", self._address, _WAIT)
            self._client.close(timeout=2)
            self._client = _connected(self._address, _WAIT)
            self._executor = self._client.get_executor(pure=False)
        try:
            self._await_workers()
        except ResourceError as error:
            problem = f"all workers ended in the middle of their work, and none is back after {_WAIT} s"
            raise ResourceError("scheduler", problem, _MEMORY) from error

    def close(self, *, now: bool) -> None:  # noqa: ARG002
        """Leave it."""
        self._there.clear()
        self._executor.shutdown(wait=False)
        if self._address is not None:
            self._client.close(timeout=2)


def _connected(address: str, seconds: int) -> "Client":
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise SpecError("scheduler", "needs Dask", "pip install 'snrkit[cluster]'") from None
    # It tells of a loss by tracebacks; ours is told in a line.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    unclear = SpecError("scheduler", f"'{address}' is no address", "write for example tcp://host:8786")
    if "://" not in address:
        raise unclear
    quiet = {"distributed.comm.timeouts.connect": f"{seconds}s", "distributed.client.scheduler-info-interval": "2s"}
    try:
        with dask.config.set(quiet):
            return Client(address, timeout=seconds, set_as_default=False)
    except ValueError as error:  # a protocol that it does not know, or no port
        raise unclear from error
    except Exception as error:  # what it raises differs between its versions
        problem = f"no scheduler answers at {address} in {seconds} s"
        raise ResourceError("scheduler", problem, _START) from error
