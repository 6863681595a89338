"""What a worker is told to do, and how it does it: functions of this package on what has come to it, nothing else.

An order is plain text and bytes, so that any executor can carry it. The function is named, and is one of this package. What
many orders share (a model with its data) is a *cargo*: it is named by its digest, opened once in a process, and kept there.
"""

import functools
import hashlib
import importlib
import pickle
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch

from snrkit import errors
from snrkit.backend.kernels import using
from snrkit.backend.machine import Machine
from snrkit.errors import ModelError, ResourceError, SnrkitError, SpecError
from snrkit.fleet.shared import Spot, put

NONE_APART: Mapping[int, bytes] = MappingProxyType({})
# Cargos that a process keeps open.
_KEPT = 4
_opened: OrderedDict[str, Any] = OrderedDict()


@dataclass(frozen=True)
class Cargo:
    """What many orders share.

    Attributes:
        content: bytes.
        opener: ``module:function`` of this package, which makes of them what functions of orders take.
        digest: of both.
    """

    content: bytes
    opener: str
    digest: str

    @classmethod
    def of(cls, content: bytes, opener: str) -> "Cargo":
        """Packed."""
        return cls(content, opener, hashlib.sha256(opener.encode() + content).hexdigest())


@dataclass(frozen=True)
class Order:
    """What a worker is to do.

    Attributes:
        work: ``module:function`` of this package: takes the opened cargos and the arguments, and returns bytes.
        arguments: pickled.
        cargos: digest and opener of each cargo.
        machine: the kind that the worker must be on.
        threads: of its processor.
        library: that products take (see ``backend.kernels``); empty: there is no choice.
        spot: where the result may be put instead of being sent back; None: it is sent.
    """

    work: str
    arguments: bytes
    cargos: tuple[tuple[str, str], ...]
    machine: Machine
    threads: int
    library: str
    spot: Spot | None = None


@dataclass(frozen=True)
class Answer:
    """What came of an order.

    Attributes:
        content: the result; None where there is none.
        put: whether the result is at the order's spot instead.
        seconds: that the work took, cargos not counted.
        missing: digests of cargos that the worker has not got.
        error: class of an error of ours, and its three parts.
        trace: of an error, as text.
    """

    content: bytes | None = None
    put: bool = False
    seconds: float = 0.0
    missing: tuple[str, ...] = ()
    error: tuple[str, str, str, str] | None = None
    trace: str = ""


class RemoteError(Exception):
    """The traceback of what a worker raised, as text."""


def serve_all(
    orders: Sequence[Order], contents: Mapping[str, bytes], arguments: Mapping[int, bytes] = NONE_APART
) -> tuple[Answer, ...]:
    """Carry out orders, in a worker; nothing is raised.

    Args:
        orders: the orders.
        contents: digest to content of cargos that have come with them.
        arguments: place of an order to its arguments, where these have come beside it.
    """
    whole = [replace(order, arguments=arguments.get(place, order.arguments)) for place, order in enumerate(orders)]
    return tuple(serve(order, contents) for order in whole)


def serve(order: Order, contents: Mapping[str, bytes]) -> Answer:
    """Carry out an order, in a worker; nothing is raised.

    Args:
        order: the order.
        contents: digest to content of cargos that have come with it.
    """
    try:
        require_same(order.machine, Machine.here())
        missing = [digest for digest, _ in order.cargos if digest not in _opened and digest not in contents]
        if missing:
            return Answer(missing=tuple(missing))
        return _done(order, contents)
    except SnrkitError as error:
        return Answer(error=_parts(error), trace=traceback.format_exc())
    except Exception as error:  # whatever it is, the measurement must hear of it
        problem = f"a worker failed ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]})"
        told = ("ModelError", "executor", problem, "see the cause")
        return Answer(error=told, trace=traceback.format_exc())


def _done(order: Order, contents: Mapping[str, bytes]) -> Answer:
    # Of the thread that calls it, and every order may come in another.
    torch.set_num_threads(order.threads)
    with using(order.library):
        cargos = [_open(digest, opener, contents) for digest, opener in order.cargos]
        start = time.perf_counter()
        found = _function(order.work)(*cargos, *pickle.loads(order.arguments))
    seconds = time.perf_counter() - start
    if order.spot is not None and put(order.spot, found):
        return Answer(put=True, seconds=seconds)
    return Answer(found, seconds=seconds)


def _open(digest: str, opener: str, contents: Mapping[str, bytes]) -> Any:
    if digest not in _opened:
        if Cargo.of(contents[digest], opener).digest != digest:
            raise SpecError("executor", "a worker got something else than was sent", "measure again")
        _opened[digest] = _function(opener)(contents[digest])
        while len(_opened) > _KEPT:
            _opened.popitem(last=False)
    _opened.move_to_end(digest)
    return _opened[digest]


@functools.cache
def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    if module.partition(".")[0] != "snrkit":
        raise SpecError("executor", f"'{name}' is no function of this package", "measure again")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


def _parts(error: SnrkitError) -> tuple[str, str, str, str]:
    return type(error).__name__, error.argument, error.problem, error.remedy


def raised(answer: Answer) -> SnrkitError:
    """What a worker raised, as it is raised here; what it said at its end is the cause."""
    name, argument, problem, remedy = answer.error or ("SnrkitError", "executor", "failed", "measure again")
    kind = getattr(errors, name, SnrkitError)
    found: SnrkitError = kind(argument, problem, remedy)
    if kind in (ModelError, ResourceError):
        found.__cause__ = RemoteError(answer.trace)
    return found


def require_same(asked: Machine, here: Machine) -> None:
    """See to it that a worker gives the bits that are asked for.

    Raises:
        SpecError: it has other versions, or is on another kind of machine.
    """
    if asked == here:
        return
    for name, wanted in asked.software.items():
        if wanted != here.software[name]:
            problem = f"a worker on {platform_name()} has {name} {here.software[name]}, and {wanted} is asked for"
            raise SpecError("executor", problem, f"install the same {name} on all workers and here")
    problem = (
        f"a worker on {platform_name()} is {here.hardware}, and others are {asked.hardware}: last bits would differ"
    )
    raise SpecError("executor", problem, "give workers on one kind of machine")


def platform_name() -> str:
    """Name of the machine."""
    import platform

    return platform.node() or "an unnamed machine"


def nothing() -> bytes:
    """An order that takes no work: what is left is what orders cost."""
    return b""


def probe() -> tuple[Machine, int]:
    """What a worker is: its kind of machine, and the number of its process."""
    import os

    return Machine.here(), os.getpid()
