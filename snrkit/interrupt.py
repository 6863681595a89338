"""Stopping in good order on Ctrl-C (SIGINT), SIGTERM, SIGHUP and every other signal that would end the program."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


class Interrupted(Exception):  # noqa: N818 (it is a message, not an error)
    """Work was asked to stop; what was finished is saved."""


# Signals that end no program, and those of a fault in it, after which nothing can be put in order.
_OTHERS = {
    "SIGCHLD", "SIGCONT", "SIGURG", "SIGWINCH", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGPIPE", "SIGXFSZ",
    "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP", "SIGSYS", "SIGSTKFLT", "SIGKILL", "SIGSTOP",
}  # fmt: skip


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    raise KeyboardInterrupt


def _ending() -> list[int]:
    """The signals that end this program as things are; one that is ignored (SIGHUP under nohup) or caught is left alone."""
    own = (signal.SIG_DFL, _interrupt)
    others = [number for number in signal.valid_signals() if getattr(number, "name", "") not in _OTHERS]
    return [number for number in others if signal.getsignal(number) in own]


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the block signals that would end the program only raise a flag, which the yielded function reads.

    A second signal of the same kind acts as if the block were not there, so that a user can always get out. Outside the
    main thread, where signals do not arrive, the flag is never raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    flag = False
    old = {number: signal.getsignal(number) for number in {signal.SIGINT, signal.SIGTERM, *_ending()}}

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal flag
        flag = True
        signal.signal(number, old[number])

    for number in old:
        signal.signal(number, note)
    try:
        yield lambda: flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def raising_signals() -> Iterator[None]:
    """Within the block signals that would end the program raise ``KeyboardInterrupt``, so that it ends as on Ctrl-C.

    A second one of the same kind ends it at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in _ending() if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
