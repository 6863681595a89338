"""Modules of an analysis folder, which import each other by plain names and are no package."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

ANALYSES = Path(__file__).parents[2] / "analyses"


def modules(folder: str, *names: str) -> list[ModuleType]:
    """Import them, and forget their plain names and where they were found; other folders use the same names."""
    home = str(ANALYSES / folder)
    before, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, home)
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - before:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(home):
                del sys.modules[name]
