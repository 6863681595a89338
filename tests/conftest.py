"""Fixtures for all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data files; tests that need them are skipped where there is none."""
    folder = os.environ.get("SNRKIT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data files: set SNRKIT_DATA to their folder")
    return Path(folder)
