"""The version of the program."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The version of the installed package; ``source`` where the source tree itself is run."""
    try:
        return installed("snrkit")
    except PackageNotFoundError:
        return "source"
