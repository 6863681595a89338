"""Keeping freed memory in the process, where the C library allows it to be asked for."""

import ctypes
import functools

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
