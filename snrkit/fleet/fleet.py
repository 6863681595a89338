"""From what a caller gives, an executor of whatever kind, to workers that take orders."""

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

from snrkit.errors import SpecError
from snrkit.fleet.hands import Futures, Hands, Processes
from snrkit.fleet.models import Send
from snrkit.specs.base import short


@dataclass(frozen=True)
class Fleet:
    """Workers, and how they are used.

    Attributes:
        hands: the workers.
        send: how models may travel to them.
    """

    hands: Hands
    send: Send = "specification"


def fleet_of(executor: Any, send: Send = "specification") -> Fleet | None:
    """The fleet of an executor; None where there is none.

    Args:
        executor: a ``dask.distributed.Client``, an ``Executor`` of ``concurrent.futures`` whose workers are processes, or a
            fleet; None.
        send: ``specification``: models of runs, which workers build and fill; ``cloudpickle``: any model, with its code.

    Raises:
        SpecError: it is something else, or its workers cannot be used.
        ResourceError: they do not answer.
    """
    if send not in get_args(Send):
        raise SpecError("send", f"cannot be {short(send)}", f"choose from {', '.join(get_args(Send))}")
    if executor is None or isinstance(executor, Fleet):
        return executor
    if isinstance(executor, Executor):
        return Fleet(Futures(executor), send)
    if type(executor).__module__.partition(".")[0] == "distributed" and hasattr(executor, "get_executor"):
        from snrkit.fleet.cluster import Cluster

        return Fleet(Cluster(executor), send)
    problem = f"is no executor, got {short(executor)}"
    raise SpecError("executor", problem, "give a ProcessPoolExecutor or a dask.distributed.Client")


@contextmanager
def fleet(workers: int | None = None, scheduler: str | None = None) -> Iterator[Fleet | None]:
    """Workers for the time of the block: processes of this machine, or a Dask cluster that is there; None: neither.

    Args:
        workers: so many processes.
        scheduler: address of a Dask scheduler.

    Raises:
        SpecError: both are given, or the cluster cannot be used.
        ResourceError: it does not answer.
    """
    if workers is not None and scheduler is not None:
        raise SpecError("workers", "cannot be chosen of a cluster that is there", "give `workers` or `scheduler`")
    if workers is None and scheduler is None:
        yield None
        return
    hands = Processes(workers) if workers is not None else _cluster(scheduler or "")
    done = False
    try:
        yield Fleet(hands)
        done = True
    finally:
        hands.close(now=not done)


def _cluster(scheduler: str) -> Hands:
    from snrkit.fleet.cluster import Cluster

    return Cluster.at(scheduler)
