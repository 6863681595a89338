"""Files read whole, and written whole or not at all. Standard library only.

Longer than other modules, since reading and writing are one thing: each says what the other may meet.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from snrkit import checksums
from snrkit.errors import OutputError, PathError, ResultsError, is_bad_path

# Nothing of ours is deeper; what reads a nested value calls itself at every level.
_DEEPEST = 64
# More often than a folder can vanish by another process's tidying up.
_ATTEMPTS = 20
_SURELY_WRITTEN_S = 3600.0
_pinned: dict[str, tuple[int, int]] = {}


def read_bytes(path: Path, most: int = -1) -> bytes:
    """The content of a regular file; of a pipe or a device it is not waited for.

    Args:
        path: the file.
        most: no more bytes than these; -1: all.

    Raises:
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read(most)


def unplain(value: Any) -> str:
    """What keeps a value read from text from being used (too deep, or an integer of more than 64 bits); else empty."""
    level = [value]
    for _ in range(_DEEPEST):
        parts: list[Any] = []
        for item in level:
            if isinstance(item, int) and not -(2**63) <= item < 2**63:
                return "holds an integer of more than 64 bits"
            if isinstance(item, dict):
                parts += item.values()
            elif isinstance(item, list):
                parts += item
        if not parts:
            return ""
        level = parts
    return f"is nested more than {_DEEPEST} deep"


def parse_json(text: str) -> Any:
    """JSON text to plain values.

    Raises:
        ValueError: it is not JSON, nested too deeply, or holds a number that is too large; the message says so.
    """
    try:
        value = json.loads(text)
    except (RecursionError, MemoryError):
        raise ValueError(f"is nested more than {_DEEPEST} deep") from None
    problem = unplain(value)
    if problem:
        raise ValueError(problem)
    return value


def read_json(path: Path) -> Any:
    """Read a JSON file. A checksum in it is verified and left out.

    Raises:
        ResultsError: missing, not JSON, or not what was written.
    """
    try:
        value = parse_json(read_bytes(path).decode("utf-8"))
        return checksums.checked(value) if isinstance(value, dict) else value
    except checksums.ChecksumError:
        raise damaged(path, "make it again") from None
    except (OSError, ValueError) as error:
        raise ResultsError(str(path), f"cannot be read ({error.__class__.__name__})", "make it again") from None


def damaged(path: Path, remedy: str) -> ResultsError:
    """The error for a file whose checksum is wrong."""
    return ResultsError(str(path), "is damaged: it is not what was written (its checksum differs)", remedy)


def inside(folder: Path, name: object) -> Path:
    """The path of a file or folder that a file names, which must be a plain name within a folder.

    Raises:
        ResultsError: it is anything else, and may lead elsewhere.
    """
    if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ResultsError(str(folder), f"a file there names {name!r:.80}, which may lie elsewhere", "delete that file")
    return folder / name


@contextlib.contextmanager
def pinned(folder: Path, since: tuple[int, int] | None = None) -> Iterator[tuple[int, int]]:
    """Within the block nothing is written below a folder that was deleted, renamed or replaced since it began.

    Otherwise the next write would make the folder anew, with half of what belongs there. What it yields tells an earlier
    block's folder from another one; given to a later block, that one goes on from where the earlier one ended.
    """
    place = str(Path(folder).absolute())
    before = _pinned.get(place)
    try:
        _pinned[place] = since or _identity(place)
    except OSError as error:
        raise output_error(folder, error) from None
    try:
        yield _pinned[place]
    finally:
        if before is None:
            del _pinned[place]
        else:
            _pinned[place] = before


def _identity(place: str | Path) -> tuple[int, int]:
    found = Path(place).stat()
    return found.st_dev, found.st_ino


def require_place(path: Path) -> Path | None:
    """The innermost pinned folder at or above a path, seen to be the same as at the beginning; None if there is none.

    Raises:
        OutputError: it is not the same.
    """
    place = path.absolute()
    for above in (place, *place.parents):
        if str(above) not in _pinned:
            continue
        try:
            same = _identity(above) == _pinned[str(above)]
        except OSError:
            same = False
        if not same:
            problem = (
                "was deleted, renamed or replaced while this process was at work in it; nothing more is written there"
            )
            raise OutputError(str(above), problem, "put it back, or begin anew with another `out`")
        return above
    return None


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet; a pinned one is never made again.

    Raises:
        OSError: it cannot be made.
        OutputError: a pinned folder is gone.
    """
    pin = require_place(folder)
    if pin is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    for part in range(1, len(folder.absolute().relative_to(pin).parts) + 1):
        pin.joinpath(*folder.absolute().relative_to(pin).parts[:part]).mkdir(exist_ok=True)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        OutputError: the directory cannot be written, or the device is full.
    """
    temporary: Path | None = None
    handle = -1
    try:
        handle, temporary = _temporary(path)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes the file private; a result should be as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        require_place(path)
        temporary.replace(path)
        _keep_name(path.parent)
    except OSError as error:
        raise output_error(path, error) from None
    finally:
        if temporary is not None:
            os.close(handle)
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> tuple[int, Path]:
    for attempt in range(_ATTEMPTS):
        try:
            make_folder(path.parent)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        except FileNotFoundError:
            # Another process took its last file away, and with it the folder.
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            # Says that somebody is writing it, see ``discard_partial``.
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle, Path(name)
    raise AssertionError("unreachable")


def _keep_name(folder: Path) -> None:
    """See to it that a new name survives a loss of power, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard_partial(path: Path, *, old: bool = False) -> None:
    """Delete what killed writes of ``path`` left beside it; what another process is writing there is left alone.

    Args:
        path: the file; its name may be a pattern of names.
        old: only what is older than any write lasts, wherever it goes on: not every file system shows locks to all machines.

    Raises:
        OutputError: the directory cannot be written.
    """
    for leftover in path.parent.glob(f".{path.name}.*.tmp*"):
        if not is_held(leftover) and not (old and _age(leftover) < _SURELY_WRITTEN_S):
            guard(leftover, lambda leftover=leftover: leftover.unlink(missing_ok=True))  # type: ignore[misc]


def _age(file: Path) -> float:
    """Seconds since a file was written; of one that is gone none."""
    with contextlib.suppress(OSError):
        return time.time() - file.stat().st_mtime
    return 0.0


def hold(file: Path) -> int:
    """A handle that says, until it is closed or its process ends, that somebody needs a file (see ``is_held``).

    Raises:
        OutputError: it cannot be opened.
    """
    try:
        handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise output_error(file, error) from None
    with contextlib.suppress(OSError):  # a file system without locks leaves its age to say so
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return handle


def is_held(file: Path) -> bool:
    """Whether a process on a machine whose locks are seen here is writing a file, or needs it."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks leaves the age to go by.
        held = error.errno in (errno.EWOULDBLOCK, errno.EAGAIN)
        return held or time.time() - os.fstat(handle).st_mtime < _SURELY_WRITTEN_S
    else:
        return False
    finally:
        os.close(handle)


def output_error(path: Path, error: OSError) -> OutputError:
    """An ``OSError`` met while writing ``path``, in the user's words."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space or give another `out`" if full else "give an `out` that you may write to"
    kind = PathError if is_bad_path(error) else OutputError
    return kind(str(path), f"cannot be written ({os.strerror(error.errno or errno.EIO).lower()})", remedy)


def guard(path: Path, write: Callable[[], object]) -> None:
    """Run a write to ``path`` and put what goes wrong in the user's words.

    Raises:
        OutputError: the write failed.
    """
    try:
        write()
    except OSError as error:
        raise output_error(path, error) from None


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file or nothing.

    Raises:
        OutputError: the file cannot be written.
    """
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def append_line(path: Path, line: str) -> None:
    """Append a line to a text file, which is made if there is none.

    Raises:
        OutputError: the file cannot be written.
    """

    def append() -> None:
        require_place(path)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")

    guard(path, append)


def require_writable(path: Path) -> None:
    """Find out before a long computation whether its result can be written to ``path``. Makes the directory.

    Raises:
        OutputError: the directory cannot be made or written, or ``path`` is a directory.
    """
    try:
        make_folder(path.parent)
        with tempfile.TemporaryFile(dir=path.parent):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "")
    except OSError as error:
        raise output_error(path, error) from None
