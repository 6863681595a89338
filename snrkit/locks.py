"""One process at a time in changing a file, and what else locks are made of. Standard library only.

Locks are those of ``flock``, which end with their process. Where a file system has none, a file that names host and process
takes their place: it is left by a process that is killed, and taken over where that process is seen to be dead: it is no
longer there, or, on another host, has not touched its file for half an hour.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import logging
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snrkit import files
from snrkit.errors import ResourceError, SnrkitError

# How long to wait for others that merge into the same files, seconds; a merge takes milliseconds.
PATIENCE_S = 60.0
_POLL_S = 0.02
# How often the owner of a file touches it, and after how long a silence it is dead where that cannot be seen otherwise.
_BEAT_S, _SILENCE_S = 60.0, 1800.0
_MERGING = ".merge-owner"
_HELD = (errno.EWOULDBLOCK, errno.EAGAIN)
# What file systems without such locks say; EBADF is NFS's answer for a folder.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
_log = logging.getLogger("snrkit.locks")


class Held(Exception):  # noqa: N818 (a message between functions)
    """Somebody else has it."""


class Unsupported(Exception):  # noqa: N818 (a message between functions)
    """The file system has no locks."""


def flock(handle: int, folder: Path) -> None:
    """Lock an open file or folder, at once or not at all.

    Raises:
        Held: somebody else has it.
        Unsupported: the file system has no locks.
        OutputError: it cannot be locked for another reason.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            raise Held from None
        if error.errno in _NO_LOCKS:
            raise Unsupported(os.strerror(error.errno).lower()) from None
        raise files.output_error(folder, error) from None


@contextlib.contextmanager
def merging(path: Path) -> Iterator[None]:
    """Alone in changing a file: others that merge into files of the same folder wait for the block to end.

    The lock is on the folder itself, so that nothing is left there.

    Raises:
        ResourceError: others were at it for ``PATIENCE_S``.
        OutputError: the folder cannot be written.
    """
    folder = path.parent
    try:
        files.make_folder(folder)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise files.output_error(folder, error) from None
    with contextlib.ExitStack() as held:
        held.callback(os.close, handle)
        try:
            _wait_for(handle, folder)
        except Unsupported as reason:
            warn(str(folder), str(reason), _MERGING)
            try:
                held.enter_context(claimed(folder / _MERGING, PATIENCE_S))
            except Held as owner:
                raise _still_busy(path, str(owner)) from None
        except Held:
            raise _still_busy(path, "") from None
        yield


def _still_busy(path: Path, owner: str) -> SnrkitError:
    problem = f"other processes have been changing files in its folder for {PATIENCE_S:g} s"
    return ResourceError(str(path), f"{problem}{f' ({owner})' if owner else ''}", "stop them, then run this again")


def _wait_for(handle: int, folder: Path) -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return flock(handle, folder)
        except Held:
            if time.monotonic() >= end:
                raise
        time.sleep(_POLL_S)


@functools.cache
def warn(folder: str, reason: str, name: str) -> None:
    """Say, once for each folder, that a file keeps others out."""
    _log.warning("note: the file system of '%s' has no locks (%s); the file %s keeps other processes out instead",
                 folder, reason, name)  # fmt: skip


def is_locked(file: Path) -> bool:
    """Whether a process has a lock on a file; its own lock on it, to find that out, is gone at once."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in _HELD
    finally:
        os.close(handle)
    return False


def claimant(file: Path) -> str | None:
    """The living process, or one on another host, that a file of ``claimed`` names, in words; None: there is none."""
    found = _content(file)
    return None if found is None or _is_dead(file, found) else _named(file, found)


@contextlib.contextmanager
def claimed(file: Path, patience: float) -> Iterator[None]:
    """A file that says which process has a folder; one of a process that is dead is taken over.

    Raises:
        Held: a process that is alive, or on another host, has it.
        OutputError: the file cannot be written.
    """
    own = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": _started(os.getpid()),
                      "token": secrets.token_hex(8), "beat": _BEAT_S})  # fmt: skip
    end = time.monotonic() + patience
    while not _create(file, own):
        found = _content(file)
        if found is not None and _is_dead(file, found):
            _take_away(file, found)
            if _create(file, own):
                break
        if time.monotonic() >= end:
            raise Held(_named(file, found or ""))
        time.sleep(_POLL_S)
    try:
        with _beating(file, own):
            yield
    finally:
        if _content(file) == own:
            with contextlib.suppress(OSError):
                file.unlink()


@contextlib.contextmanager
def _beating(file: Path, own: str) -> Iterator[None]:
    """Touch a file from time to time while the block runs, so that other hosts see that its owner is alive."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_S):
            with contextlib.suppress(OSError):
                if _content(file) == own:
                    os.utime(file)

    thread = threading.Thread(target=beat, name="snrkit-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _create(file: Path, content: str) -> bool:
    """Make a file that is not there yet."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(file, flags, 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        raise files.output_error(file, error) from None
    with os.fdopen(handle, "w") as stream:
        stream.write(content)
    return True


def _content(file: Path) -> str | None:
    try:
        return files.read_bytes(file).decode("utf-8", "replace")
    except OSError:
        return None


def _owner(content: str) -> dict[str, Any]:
    try:
        owner = files.parse_json(content)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _named(file: Path, content: str) -> str:
    owner = _owner(content)
    return f"process {owner.get('pid', 'unknown')} on {owner.get('host', 'a host unknown')}, says {file}"


def _is_dead(file: Path, content: str) -> bool:
    owner = _owner(content)
    pid = owner.get("pid")
    if not isinstance(pid, int) or "host" not in owner:
        # Cut short, or just being written.
        try:
            return time.time() - file.lstat().st_mtime > PATIENCE_S
        except OSError:
            return False
    if owner["host"] != socket.gethostname():
        return "beat" in owner and _silence(file) > _SILENCE_S
    started = _started(pid)
    return started == "" or owner.get("started") not in ("", None, started)


def _silence(file: Path) -> float:
    """For how long a file has not been touched, seconds by the clock of its file system; 0 where that cannot be told."""
    try:
        with tempfile.TemporaryFile(dir=file.parent) as now:
            return os.fstat(now.fileno()).st_mtime - file.lstat().st_mtime
    except OSError:
        return 0.0


def _started(pid: int) -> str:
    """When a process began, in ticks since the machine did; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _take_away(file: Path, content: str) -> None:
    """Delete a dead process's file; of several that see it, one does, so that none deletes a successor's."""
    claim = file.with_name(f"{file.name}.{hashlib.sha256(content.encode()).hexdigest()[:8]}")
    if not _create(claim, ""):
        time.sleep(_POLL_S)
        return
    try:
        if _content(file) == content:
            with contextlib.suppress(OSError):
                file.unlink()
    finally:
        claim.unlink(missing_ok=True)
