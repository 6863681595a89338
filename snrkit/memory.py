"""How much memory there is, whether something fits, and keeping what was freed in the process."""

import ctypes
import errno
import functools
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from snrkit.errors import BUG, ResourceError, SnrkitError

# glibc's numbers for mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Blocks up to the largest size that glibc lets its heap serve; the heap gives back only what is left over beyond a gigabyte.
_HEAP_BLOCK, _SPARE = 32 * 2**20, 2**30


@functools.cache
def keep_freed_memory() -> bool:
    """Let this process reuse the memory of temporaries instead of returning it to the system and fetching it again.

    Tensors of some megabytes are otherwise mapped anew for every operation, and the first touch of each page costs more than
    the arithmetic on it. Results do not change.

    Returns:
        Whether the C library took it; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _HEAP_BLOCK)) and bool(mallopt(_TRIM_THRESHOLD, _SPARE))


_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
# What control groups, versions 2 and 1, call the limit of a container.
_GROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def installed() -> int:
    """Bytes of memory that this process can have at most: what the machine, its container and its limits allow."""
    return min(_limits())


def _limits() -> Iterator[int]:
    yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        yield soft
    for file in _GROUP_LIMITS:
        try:
            yield int(file.read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue


def require_room(size: int, argument: str, asked: str, remedy: str) -> None:
    """Find out before the work that something cannot fit in memory, whatever else is in it.

    Args:
        size: bytes that it takes at least.
        argument: the setting at fault.
        asked: what was asked for.
        remedy: what the user can do about it.

    Raises:
        ResourceError: it takes more than there is.
    """
    if size > installed():
        problem = f"{asked} takes {readable(size)} at least, and there are {readable(installed())} of memory"
        raise ResourceError(argument, problem, remedy)


def readable(size: int) -> str:
    """A number of bytes in words, e.g. ``3.2 GiB``."""
    power = min(max(0, size.bit_length() - 1) // 10, len(_UNITS) - 1)
    number = size / 1024**power
    return f"{number:.0f} {_UNITS[power]}" if power == 0 or number >= 100 else f"{number:.3g} {_UNITS[power]}"


# How allocators and those that reckon sizes for them say that something is too large.
_TOO_LARGE = re.compile(
    r"out of memory|can't allocate|cannot allocate|not enough memory|unable to (?:mmap|allocate)|size calculation overflowed"
    r"|multiplication overflow|array is too big|maximum allowed|too large to convert|int too big"
    r"|overflow when unpacking|invalid buffer size",
    re.IGNORECASE,
)
_ASKED = re.compile(r"(?:allocate|mmap)\s+([\d.]+)\s*([KMGTPE]iB|bytes)", re.IGNORECASE)


def shortage(error: BaseException) -> ResourceError | None:
    """What an exception says if it says that memory ran out, in the user's words; None if it says something else."""
    text = str(error)
    by_allocators = isinstance(error, RuntimeError | ValueError | TypeError | OverflowError) and _TOO_LARGE.search(text)
    of_the_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not (isinstance(error, MemoryError) or by_allocators or of_the_system):
        return None
    found = _ASKED.search(text)
    size = "" if found is None else f" ({_size(found[1], found[2])} asked for at once)"
    remedy = "ask for less at once: fewer samples or data points, a smaller batch or a smaller model"
    return ResourceError("memory", f"not enough for this{size}", remedy)


def is_shortage(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, in an allocator's words or in ours."""
    return isinstance(error, ResourceError) or shortage(error) is not None


def exit_code_of(error: BaseException) -> int:
    """What the program exits with when it ends with this exception."""
    if isinstance(error, SnrkitError):
        return error.exit_code
    return BUG if shortage(error) is None else ResourceError.exit_code


def _size(number: str, unit: str) -> str:
    return readable(int(number)) if unit == "bytes" and number.isdecimal() else f"{number.rstrip('.')} {unit}"
