"""The exception family: every message names the argument at fault and the remedy."""


class SnrkitError(Exception):
    """Bad input, in one line: what is at fault, what is wrong with it, what to do.

    Args:
        argument: the name of the argument, option or file at fault, as the user wrote it.
        problem: what is wrong with it.
        remedy: what the user can do about it.
    """

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
    """Output cannot be written: no permission, no space, or something is in the way."""


class NonFiniteError(SnrkitError):
    """A bound or gradient became NaN or infinite."""


class CapabilityError(SnrkitError):
    """A model does not offer what an estimator or an engine needs."""


class ModelError(SnrkitError):
    """A user's own code raised: its exception, with its traceback, is this one's ``__cause__``."""


class ResourceError(SnrkitError):
    """What was asked for does not fit in memory, or another process holds what is needed."""
