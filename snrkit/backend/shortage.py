"""What an exception says of memory, in the user's words, and which exit code an exception has."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from snrkit.backend.memory import in_words, out_of_memory
from snrkit.errors import BUG, ResourceError, SnrkitError

# How numpy, Python and torch refuse sizes that no memory could have, beside what ``out_of_memory`` knows.
_TOO_LARGE = re.compile(
    r"unable to (?:mmap|allocate)|multiplication overflow|array is too big|maximum allowed|too large to convert|int too big"
    r"|overflow when unpacking|invalid buffer size",
    re.IGNORECASE,
)
_ASKED = re.compile(r"(?:allocate|mmap)\s+([\d.]+)\s*([KMGTPE]iB|bytes)", re.IGNORECASE)


def shortage(error: BaseException) -> ResourceError | None:
    """What an exception says if it says that memory ran out, in one sentence; None if it says something else."""
    text = str(error)
    too_large = isinstance(error, RuntimeError | ValueError | TypeError | OverflowError) and _TOO_LARGE.search(text)
    of_the_system = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if not (out_of_memory(error) or too_large or of_the_system):
        return None
    found = _ASKED.search(text)
    size = "" if found is None else f" ({_size(found[1].rstrip('.'), found[2])} asked for at once)"
    remedy = "ask for less at once: fewer samples or data points, a smaller batch or a smaller model"
    return ResourceError("memory", f"not enough for this{size}", remedy)


@contextmanager
def shortage_told() -> Iterator[None]:
    """Within the block memory that runs out ends in ``ResourceError``, with what the allocator said chained."""
    try:
        yield
    except SnrkitError:
        raise
    except Exception as error:
        short = shortage(error)
        if short is None:
            raise
        raise short from error


def is_shortage(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, in an allocator's words or in ours."""
    return isinstance(error, ResourceError) or shortage(error) is not None


def exit_code_of(error: BaseException) -> int:
    """What the program exits with when it ends with this exception."""
    if isinstance(error, SnrkitError):
        return error.exit_code
    return BUG if shortage(error) is None else ResourceError.exit_code


def _size(number: str, unit: str) -> str:
    return in_words(int(number)) if unit == "bytes" and number.isdecimal() else f"{number} {unit}"
