"""Memory: how much there is, when it ran out, and keeping what was freed."""

import ctypes
import functools
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit.errors import ResourceError

if TYPE_CHECKING:
    import torch

# glibc's numbers for mallopt (malloc.h).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
# Blocks up to the largest size that glibc lets its heap serve; the heap gives back only what is left over beyond a gigabyte.
_HEAP_BLOCK, _SPARE = 32 * 2**20, 2**30
# What torch's allocators say, on a processor (Linux, macOS, Windows) and on a GPU, and of sizes past 64 bits.
_REFUSALS = (
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED",
    "Storage size calculation overflowed",
)  # fmt: skip
# Of containers, version 2 and 1.
_QUOTAS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


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


def fresh(size: tuple[int, ...], dtype: "torch.dtype", device: "torch.device") -> "torch.Tensor":
    """An uninitialised tensor that is to be kept.

    On a processor its memory is numpy's, which asks the system for large pages: the first touch of a large tensor takes a
    fraction of what it does with small ones.
    """
    import numpy as np  # neither is needed for anything else here, and both are slow to load
    import torch

    if device.type != "cpu" or dtype not in (torch.float32, torch.float64):
        return torch.empty(size, dtype=dtype, device=device)
    return torch.from_numpy(np.empty(size, dtype=np.float32 if dtype == torch.float32 else np.float64))


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, MemoryError):
        return True
    if type(error).__name__ == "OutOfMemoryError":  # torch's own, whatever it says; torch need not be loaded here
        return True
    return isinstance(error, RuntimeError) and any(refusal in str(error) for refusal in _REFUSALS)


@contextmanager
def within_memory(argument: str, asked: str, remedy: str) -> Iterator[None]:
    """Say in one sentence that memory ran out within the block.

    Args:
        argument: what asked for it, as the user wrote it.
        asked: its size, e.g. ``50000000 samples``.
        remedy: what to do.

    Raises:
        ResourceError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise ResourceError(argument, f"memory ran out with {asked}", remedy) from None


def require_memory(argument: str, asked: str, size: int, remedy: str) -> None:
    """Refuse before any work what does not fit into the memory that is free.

    Systems promise more memory than they have and end a process that comes to use it, so asking for it finds out nothing.

    Args:
        argument: what asked for it, as the user wrote it.
        asked: how much of it, e.g. ``50000000 samples``.
        size: bytes that are needed at the least.
        remedy: what to do.

    Raises:
        ResourceError: fewer are free.
    """
    limit = available()
    if size > limit:
        problem = f"{asked} need {in_words(size)} of memory, and {in_words(limit)} are free"
        raise ResourceError(argument, problem, remedy)


def available() -> int:
    """Bytes of memory that this process may come to use: what the machine has left, or the less that it is allowed."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    for file in _QUOTAS:
        with suppress(OSError, ValueError):
            found.append(int(file.read_text(encoding="ascii")))
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY:
        found.append(allowed)
    return min(found)


def available_on(device: "torch.device") -> int:
    """Bytes of a CUDA device that this process may come to use: what is free there, and what torch holds of it unused."""
    import torch  # not needed for anything else here, and slow to load

    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def in_words(size: int) -> str:
    """Bytes as text, e.g. ``1.5 GB``."""
    if size >= 10**18:
        return "more than a million TB"
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size} bytes"
