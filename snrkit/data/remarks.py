"""What a user should know of data that can be used: a line on stderr, each said once."""

import functools
import logging

_LOG = logging.getLogger("snrkit.data")


@functools.cache
def remark(text: str) -> None:
    """Say something about the data."""
    _LOG.warning("snrkit: note: %s", text)
