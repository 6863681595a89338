"""Analyses are scripts with modules beside them; each is loaded as when it is run."""

import importlib.util
import sys
from pathlib import Path

import pytest

ANALYSES = Path(__file__).parents[2] / "analyses"


@pytest.fixture
def analysis(monkeypatch):
    """The ``run`` module of a folder."""

    def load(folder):
        monkeypatch.setattr(sys, "path", list(sys.path))
        script = importlib.util.spec_from_file_location(f"run_{folder}", ANALYSES / folder / "run.py")
        module = importlib.util.module_from_spec(script)
        script.loader.exec_module(module)
        return module

    return load
