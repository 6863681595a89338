"""Which snrkit this is."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version


def version() -> str:
    """The version of the installed package; ``source`` where it runs from a source tree that is not installed."""
    try:
        return installed_version("snrkit")
    except PackageNotFoundError:
        return "source"
