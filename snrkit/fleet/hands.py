"""Who carries out orders: any executor of ``concurrent.futures``, or processes of this machine that are begun for it."""

import itertools
import logging
import multiprocessing
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLong
from multiprocessing.context import BaseContext
from typing import Any, TypeAlias

from snrkit.backend.machine import Machine
from snrkit.errors import ResourceError, SpecError
from snrkit.fleet.orders import Answer, Cargo, Order, probe, require_same, serve_all

_LOG = logging.getLogger("snrkit")
Answers: TypeAlias = "Future[tuple[Answer, ...]]"
# Seconds in which the first worker must have answered.
PATIENCE = 120.0
_PRELOADED = ["snrkit.diagnostics.remote", "snrkit.evaluation.remote"]


class Hands(ABC):
    """Workers that take orders.

    Attributes:
        machine: the kind of machine that all of them are on.
    """

    machine: Machine

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many orders are carried out at once, as far as is known; at least 1."""

    @abstractmethod
    def submit(self, orders: Sequence[Order], cargos: Mapping[str, Cargo], missing: tuple[str, ...] = ()) -> Answers:
        """Have orders carried out by one worker, one after another.

        Args:
            orders: the orders.
            cargos: digest to cargo.
            missing: those that a worker has said it lacks.
        """

    @abstractmethod
    def is_loss(self, error: BaseException) -> bool:
        """Whether an error of a future says that the worker was lost, and not that the work failed."""

    @abstractmethod
    def renew(self) -> None:
        """Go on after a loss.

        Raises:
            ResourceError: that is not possible.
        """

    @abstractmethod
    def close(self, *, now: bool) -> None:
        """End what was begun for this; ``now``: without waiting for what is being worked on."""


class Futures(Hands):
    """The workers of an executor that is there; it is the caller's to end.

    Args:
        executor: the executor, whose workers are processes.

    Raises:
        SpecError: its workers are threads of this process, or others than this package runs on.
        ResourceError: it does not answer.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.machine = self._seen()

    def _seen(self) -> Machine:
        if isinstance(self._executor, ThreadPoolExecutor):
            raise threads_refused()
        try:
            machine, process = self._executor.submit(probe).result(PATIENCE)
        except TooLong:
            problem = f"no worker has answered in {PATIENCE:.0f} s"
            raise ResourceError("executor", problem, "see whether its workers run") from None
        except Exception as error:
            raise unfit(error) from error
        if process == os.getpid():
            raise threads_refused()
        here = Machine.here()
        require_same(Machine(**{**vars(here), "processor": machine.processor, "vectors": machine.vectors}), machine)
        return machine

    @property
    def workers(self) -> int:
        """Of the pools of the standard library it is known."""
        return int(getattr(self._executor, "_max_workers", None) or os.cpu_count() or 1)

    def submit(self, orders: Sequence[Order], cargos: Mapping[str, Cargo], missing: tuple[str, ...] = ()) -> Answers:
        """A cargo goes with orders only once a worker has said that it lacks it."""
        try:
            return self._executor.submit(serve_all, orders, {digest: cargos[digest].content for digest in missing})
        except (BrokenExecutor, RuntimeError) as error:
            lost: Answers = Future()
            lost.set_exception(error if isinstance(error, BrokenExecutor) else BrokenExecutor(str(error)))
            return lost

    def is_loss(self, error: BaseException) -> bool:
        """Whether the pool broke."""
        return isinstance(error, BrokenExecutor)

    def renew(self) -> None:
        """A pool that broke stays broken."""
        problem = "a worker ended in the middle of its work, and with it the pool"
        raise ResourceError("executor", problem, "give a new one, or `workers`, which are begun again by themselves")

    def close(self, *, now: bool) -> None:
        """It is not ours."""


class Processes(Futures):
    """Processes of this machine, begun for this and begun again where one is lost.

    Args:
        count: how many.

    Raises:
        ResourceError: they cannot be begun.
    """

    def __init__(self, count: int) -> None:
        self._count, self._context = count, _context()
        self._begun, self._devices = self._context.Value("i", 0), devices()
        super().__init__(self._pool())
        cores = _cores()
        if count > cores:
            _LOG.warning("workers: %d on %d cores are no faster than %d, and each takes memory", count, cores, cores)

    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._count, self._context, _begin, (self._begun, self._devices))

    @property
    def workers(self) -> int:
        """As many as were asked for."""
        return self._count

    def renew(self) -> None:
        """Begin others, and end what is left of the old ones: one may have been stopped and never end by itself."""
        self.close(now=True)
        self._executor = self._pool()

    def close(self, *, now: bool) -> None:
        """End them."""
        processes = dict(getattr(self._executor, "_processes", None) or {})
        if now:
            for process in processes.values():
                process.kill()
        self._executor.shutdown(wait=not now, cancel_futures=True)


def _cores() -> int:
    """Of the machine, as many as this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _context() -> BaseContext:
    """Processes come out of a server that has loaded torch once and computed nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _begin(begun: Any, devices: Sequence[str]) -> None:
    """What a process does first: it takes a GPU in turn, leaves Ctrl-C to the one that began it, and ends with that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with begun.get_lock():
        number = begun.value
        begun.value += 1
    if devices:
        # Before anything here has asked for a GPU: what CUDA sees is settled by the first question.
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def devices() -> list[str]:
    """The GPUs that this process sees, as ``CUDA_VISIBLE_DEVICES`` calls them: by number, UUID or part of one (MIG)."""
    import torch

    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is None:
        return [str(number) for number in range(torch.cuda.device_count())]
    named = (name.strip() for name in told.split(","))
    # CUDA itself reads no further than the first that is none.
    return list(itertools.takewhile(lambda name: name and not name.startswith("-"), named))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def threads_refused() -> SpecError:
    """What is said of workers that are threads."""
    problem = "its workers are threads of this process, and a model is measured by one at a time"
    return SpecError("executor", problem, "give processes: a ProcessPoolExecutor, or a cluster with processes=True")


def unfit(error: BaseException) -> SpecError | ResourceError:
    """Why a first order failed."""
    if isinstance(error, ModuleNotFoundError):
        lacks = (error.name or "snrkit").partition(".")[0]
        return SpecError("executor", f"a worker has no package {lacks}", f"install the same {lacks} on all workers")
    told = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
    return ResourceError("executor", f"its workers take no work ({told})", "see whether they run")
