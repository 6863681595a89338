"""Names to objects, imported only when asked for, so that listing names costs no import."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

from snrkit.errors import SpecError


class Registry:
    """A read-only table of names, each pointing at ``"module:attribute"``.

    Args:
        kind: what the names stand for, in the words of an error message ("estimator").
        entries: one line per name.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]) -> None:
        self.kind = kind
        self._entries = dict(entries)

    @property
    def names(self) -> list[str]:
        """The registered names, in order of registration."""
        return list(self._entries)

    def load(self, name: str) -> Any:
        """Import and return the object registered under ``name``.

        Raises:
            SpecError: no such name; the message lists the names and the nearest one.
        """
        self.require(name)
        module, attribute = self._entries[name].split(":")
        return getattr(importlib.import_module(module), attribute)

    def require(self, name: str) -> None:
        """See to it that a name is registered, without importing what it names.

        Raises:
            SpecError: no such name; the message lists the names and the nearest one.
        """
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise SpecError(self.kind, f"unknown {self.kind} '{name}'", f"{hint}choose from {', '.join(self.names)}")
