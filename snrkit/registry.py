"""Names to objects, imported only when asked for, so that listing names costs no import.

Other packages add names by entry points, ``[project.entry-points."snrkit.estimators"]`` with ``name = "module:attribute"``.
What is installed is looked at when a name is none of ours or when names are listed, and imported when it is asked for.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.util
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snrkit.errors import CapabilityError, SpecError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_OURS = "snrkit"


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
        group: of the entry points by which other packages add names; None: they add none.
        what: ``"module:class"`` that what they add is, or is a subclass of; None: anything goes.
    """

    def __init__(
        self, kind: str, entries: Mapping[str, str], group: str | None = None, what: str | None = None
    ) -> None:
        self.kind = kind
        self.group = group
        self._entries, self._what = dict(entries), what
        self._lent: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        """Our own names, in order of registration, and then those of other packages.

        Raises:
            SpecError: a name stands for two things.
        """
        return [*self._entries, *self._added()]

    def load(self, name: str) -> Any:
        """Import and return the object registered under ``name``.

        Raises:
            SpecError: no such name, or it stands for two things; the message lists the names and the nearest one.
            CapabilityError: it is of another package, and cannot be imported or is not what it should be.
        """
        self.require(name)
        if name in self._lent:
            return self._lent[name]
        return _named(self._entries[name]) if name in self._entries else self._imported(self._added()[name])

    def require(self, name: str) -> None:
        """See to it that a name is registered, without importing what it names.

        Raises:
            SpecError: no such name, or it stands for two things; the message lists the names and the nearest one.
        """
        known = isinstance(name, str) and (name in self._entries or name in self._lent or name in self._added())
        if not known:
            problem, near = f"unknown {self.kind} {reprlib.repr(name)}", hint(str(name), self.names)
            raise SpecError(self.kind, problem, f"{near}choose from {', '.join(self.names)}")

    @contextmanager
    def lent(self, name: str, thing: Any) -> Iterator[None]:
        """Within the block a name that is nobody's stands for a thing of the caller's; it is not listed."""
        before = self._lent.get(name)
        self._lent[name] = thing
        try:
            yield
        finally:
            if before is None:
                del self._lent[name]
            else:
                self._lent[name] = before

    def _added(self) -> "dict[str, EntryPoint]":
        """What other packages add."""
        found: dict[str, EntryPoint] = {}
        for entry in _installed(tuple(sys.path)) if self.group else ():
            if entry.group != self.group:
                continue
            if entry.name in self._entries or entry.name in found:
                other = _package(found[entry.name]) if entry.name in found else _OURS
                problem = f"'{entry.name}' is a name in two packages, {other} and {_package(entry)}"
                raise SpecError(self.kind, problem, f"uninstall {_package(entry)}, or have it choose another name")
            found[entry.name] = entry
        return found

    def _imported(self, entry: "EntryPoint") -> Any:
        package = _package(entry)
        try:
            found = entry.load()
        except Exception as error:  # another's module may raise anything
            problem = f"'{entry.name}' of {package} cannot be imported ({type(error).__name__}: {error})"
            raise CapabilityError(self.kind, problem, f"repair {package}, or uninstall it") from error
        base: type = _named(self._what) if self._what else object
        if not (issubclass(found, base) if isinstance(found, type) else isinstance(found, base)):
            problem = f"'{entry.name}' of {package} is no {base.__name__}: {entry.value} is {reprlib.repr(found)}"
            raise CapabilityError(self.kind, problem, f"repair {package}, or uninstall it")
        if getattr(found, "name", entry.name) != entry.name:
            problem = f"'{entry.name}' of {package} calls itself {found.name!r}, which nothing would find again"
            raise CapabilityError(self.kind, problem, f"give both the same name in {package}")
        return found


@dataclass(frozen=True)
class Plugin:
    """A package that adds to our registries.

    Attributes:
        name: of the distribution.
        version: of it.
        modules: its top-level modules that do.
    """

    name: str
    version: str
    modules: frozenset[str]

    @property
    def identity(self) -> str:
        """Name, version and digest of the source: who writes a plug-in changes it without giving it another version."""
        return " ".join([self.name, self.version, *(source_digest(module) for module in sorted(self.modules))])


def plugins(group: str | None = None) -> list[Plugin]:
    """The packages that add to our registries, or to one of them, by name."""
    found: dict[tuple[str, str], set[str]] = {}
    for entry in _installed(tuple(sys.path)):
        if entry.dist and group in (None, entry.group):
            found.setdefault((entry.dist.name, entry.dist.version), set()).add(_top(entry.module))
    return [Plugin(*key, frozenset(modules)) for key, modules in sorted(found.items())]


def makers(*objects: object) -> list[str]:
    """The identities of the plug-ins that objects (of these classes) come from; none of what is ours or a user's own."""
    kinds = (one if isinstance(one, type) else type(one) for one in objects)
    modules = {_top(kind.__module__) for kind in kinds}
    # What is installed need not be looked at for what is our own.
    return [plugin.identity for plugin in plugins() if plugin.modules & modules] if modules - {_OURS} else []


def _named(entry: str) -> Any:
    module, attribute = entry.split(":")
    return getattr(importlib.import_module(module), attribute)


@functools.lru_cache(maxsize=4)
def _installed(_path: tuple[str, ...]) -> "tuple[EntryPoint, ...]":
    """What the packages on ``sys.path`` add to our registries."""
    from importlib.metadata import entry_points  # as slow to import as all of the program that --help needs

    everything = entry_points()
    groups = [group for group in everything.groups if group.startswith(f"{_OURS}.")]
    found = [entry for group in groups for entry in everything.select(group=group)]
    return tuple(sorted(found, key=lambda entry: (entry.group, entry.name, _package(entry))))


def _package(entry: "EntryPoint") -> str:
    return entry.dist.name if entry.dist else entry.module


def _top(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def source_digest(module: str) -> str:
    """Of the source of a top-level module, which is found without being imported."""
    spec = importlib.util.find_spec(module)
    places = (spec.submodule_search_locations or ([spec.origin] if spec.origin else [])) if spec else []
    paths = [Path(place) for place in places]
    files = sorted(file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path]))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
