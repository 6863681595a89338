"""One process at a time in a folder."""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from snrkit import files
from snrkit.errors import OutputError, ResourceError, SnrkitError
from snrkit.locks import Held, Unsupported, claimant, claimed, flock, is_locked, warn

_LOCK, _OWNER = ".lock", ".lock-owner"
# More often than others can take an empty folder away in the meantime.
_ATTEMPTS = 20
# Longer than anybody who only looks (see ``holder``) keeps a lock, seconds.
_GLANCE_S = 0.01


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs and sweeps out of a folder, which is made, while the block runs; it goes if nothing is put there.

    Where the folder is deleted or renamed within the block, nothing more is written to it (see ``files.pinned``).

    Raises:
        ResourceError: one is at work there.
        OutputError: the folder cannot be written.
    """
    with contextlib.ExitStack() as held:
        try:
            handle = _lock_file(folder)
            held.callback(os.close, handle)
        except Held as owner:
            raise _busy(folder, str(owner)) from None
        except Unsupported as reason:
            warn(str(folder), str(reason), _OWNER)
            try:
                held.enter_context(claimed(folder / _OWNER, 0.0))
            except Held as owner:
                raise _busy(folder, str(owner)) from None
        held.enter_context(files.pinned(folder))
        # Last, so that it comes first at the end: while the folder is known to be the same, and before the lock is gone.
        held.callback(_leave_nothing, folder)
        yield


@contextlib.contextmanager
def among_others_in(folder: Path) -> Iterator[None]:
    """Work in a folder, which is made, while others may too; it goes if nothing is put there. See ``alone_in``.

    Raises:
        OutputError: the folder cannot be written.
    """
    files.require_writable(folder / _LOCK)
    with files.pinned(folder):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                folder.rmdir()


def holder(folder: Path) -> str | None:
    """Who is at work in a folder, as far as can be seen, in words; None: nobody. Nothing is made or changed there."""
    owner = claimant(folder / _OWNER)
    if owner is None and not is_locked(folder / _LOCK):
        return None
    return f"another process is at work there{f' ({owner})' if owner else ''}"


def _busy(folder: Path, owner: str) -> SnrkitError:
    problem = f"another process is at work in '{folder}'{f' ({owner})' if owner else ''}"
    return ResourceError("out", problem, "wait for it, or stop it")


def _lock_file(folder: Path) -> int:
    """The folder's lock file, opened and locked."""
    file = folder / _LOCK
    for _ in range(_ATTEMPTS):
        try:
            files.make_folder(folder)
            handle = _open_lock(file)
        except FileNotFoundError:
            continue  # Another process that found nothing to do took the folder away.
        except OSError as error:
            raise files.output_error(folder, error) from None
        try:
            _flock(handle, folder)
            if _is_same(handle, file):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise files.output_error(folder, FileNotFoundError(errno.ENOENT, ""))


def _flock(handle: int, folder: Path) -> None:
    """``flock``, which whoever only looks keeps from nobody."""
    try:
        flock(handle, folder)
    except Held:
        time.sleep(_GLANCE_S)
        flock(handle, folder)


def _open_lock(file: Path) -> int:
    """A lock file, opened without waiting for a pipe's other end and without following a link."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    strange = OutputError(str(file), "is no regular file, so it cannot be locked", "delete it, or give another `out`")
    try:
        handle = os.open(file, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV):
            raise strange from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise strange
    return handle


def _is_same(handle: int, file: Path) -> bool:
    """Whether an opened file still has its name: who held it before may have deleted it."""
    try:
        return os.path.samestat(os.fstat(handle), file.lstat())
    except FileNotFoundError:
        return False


def _leave_nothing(folder: Path) -> None:
    """Take an empty folder away, if it is still there."""
    ours = {folder / _LOCK, folder / _OWNER}
    with contextlib.suppress(OSError, OutputError):
        files.require_place(folder)
        if set(folder.iterdir()) <= ours:
            for file in ours:
                file.unlink(missing_ok=True)
            folder.rmdir()
