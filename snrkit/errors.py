"""The exception family: every message names the argument at fault and the remedy, and every class its exit code."""

import errno
from typing import ClassVar

BUG, BAD_INPUT, DIVERGED, NO_ROOM, INTERRUPTED = 1, 2, 3, 4, 130

# What is wrong with a path itself; all else that an operating system says of it is about the disk behind it.
_BAD_PATH = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENAMETOOLONG, errno.EILSEQ,
    errno.EINVAL,
}  # fmt: skip


class SnrkitError(Exception):
    """Bad input, in one line: what is at fault, what is wrong with it, what to do.

    Args:
        argument: the name of the argument, option or file at fault, as the user wrote it.
        problem: what is wrong with it.
        remedy: what the user can do about it.

    Attributes:
        exit_code: what the program exits with.
    """

    exit_code: ClassVar[int] = BAD_INPUT

    def __init__(self, argument: str, problem: str, remedy: str) -> None:
        self.argument = argument
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{argument}: {problem}; {remedy}")


class SpecError(SnrkitError, ValueError):
    """An option or argument has a value that cannot be used."""


class DataError(SnrkitError):
    """A data set is missing, damaged or of the wrong shape."""


class CheckpointError(SnrkitError):
    """A checkpoint is missing, damaged, foreign or of a newer format."""


class ResultsError(SnrkitError):
    """A results file is missing, damaged or of a newer schema."""


class OutputError(SnrkitError):
    """Output cannot be written: no permission, no space, a broken disk."""

    exit_code = NO_ROOM


class PathError(OutputError):
    """Output cannot go where it was asked to: a file in the place of a folder, a run that is there already."""

    exit_code = BAD_INPUT


class NonFiniteError(SnrkitError):
    """A bound or gradient became NaN or infinite."""

    exit_code = DIVERGED


class CapabilityError(SnrkitError):
    """A model does not offer what an estimator or an engine needs."""


class ModelError(SnrkitError):
    """A user's own code raised: its exception, with its traceback, is this one's ``__cause__``."""


class ResourceError(SnrkitError):
    """What was asked for does not fit in memory, or another process holds what is needed."""

    exit_code = NO_ROOM


def is_bad_path(error: OSError) -> bool:
    """Whether an error of the operating system is about the path that was given, and not about the disk."""
    return error.errno in _BAD_PATH
