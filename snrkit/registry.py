"""Names to objects, imported only when asked for, so that listing names costs no import."""

import difflib
import importlib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from snrkit.errors import SpecError


def hint(name: str, known: Iterable[str]) -> str:
    """``did you mean '...'? `` with the known name that comes nearest, whatever its case; empty if none does."""
    names = {other.lower(): other for other in known}
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean '{names[near[0]]}'? " if near else ""


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
        if not isinstance(name, str) or name not in self._entries:
            problem, near = f"unknown {self.kind} {reprlib.repr(name)}", hint(str(name), self._entries)
            raise SpecError(self.kind, problem, f"{near}choose from {', '.join(self.names)}")
