"""Stopping in good order on Ctrl-C (SIGINT) and SIGTERM."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):  # noqa: N818 (it is a message, not an error)
    """Work was asked to stop; what was finished is saved."""


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Within the block SIGINT and SIGTERM only raise a flag, which the yielded function reads.

    A second signal of the same kind acts as if the block were not there, so that a user can always get out. Outside the
    main thread, where signals do not arrive, the flag is never raised.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    flag = False
    old = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: FrameType | None) -> None:
        nonlocal flag
        flag = True
        signal.signal(number, old[signal.Signals(number)])

    for number in old:
        signal.signal(number, note)
    try:
        yield lambda: flag
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
