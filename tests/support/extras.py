"""Libraries that are extras: a test that needs one is skipped where it is absent, unless all of them must be there."""

import importlib
import os
import warnings
from types import ModuleType

import pytest


def required() -> bool:
    """Whether an absent library is a failure, as under ``make extras``."""
    return os.environ.get("SNRKIT_EXTRAS") == "required"


def library(name: str, extra: str) -> ModuleType:
    """A library at the head of a test module, whose tests are to be marked ``extra``.

    Args:
        name: as it is imported.
        extra: of ``snrkit[...]``, which has it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        if required():
            return importlib.import_module(name)
        return pytest.importorskip(name, reason=f"pip install 'snrkit[{extra}]'")
