"""Where data files live, and whether they are the right ones."""

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snrkit.data.base import DataFile, Source
from snrkit.errors import DataError

VARIABLE = "SNRKIT_DATA"
GZIP_MAGIC = b"\x1f\x8b"

State = Literal["ok", "missing", "differs", "unchecked"]


@dataclass(frozen=True)
class Check:
    """How one file of a source stands.

    Attributes:
        name: the file's name.
        state: ``ok``; ``missing``; ``differs`` (its bytes are not the expected ones); ``unchecked`` (no known checksum).
        path: where it lies; None if missing.
    """

    name: str
    state: State
    path: Path | None


def data_folder(explicit: Path | None) -> Path:
    """The folder given, else the one in ``SNRKIT_DATA``, else a cache folder of the user's."""
    if explicit is not None:
        return explicit
    variable = os.environ.get(VARIABLE)
    if variable:
        return Path(variable)
    import pooch

    return Path(pooch.os_cache("snrkit"))


def find(folder: Path, source: str, name: str) -> Path | None:
    """The first of ``folder/source/name``, ``folder/name``, each as is or with ``.gz``; None if there is none."""
    places = [parent / (name + suffix) for parent in (folder / source, folder) for suffix in ("", ".gz")]
    return next((place for place in places if place.is_file()), None)


def require(folder: Path, source: str, name: str, remedy: str) -> Path:
    """Like ``find``.

    Raises:
        DataError: there is no such file.
    """
    path = find(folder, source, name)
    if path is None:
        raise DataError(source, f"{name} is neither in {folder / source} nor in {folder}", remedy)
    return path


def unpack(content: bytes, name: str) -> bytes:
    """The bytes without gzip packing, if they have any.

    Raises:
        DataError: the packing is damaged or cut short.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        problem = f"damaged gzip file ({error.__class__.__name__})"
        raise DataError(name, problem, "delete it and get it again") from None


def read_unpacked(path: Path) -> bytes:
    """The bytes of a file, without gzip packing.

    Raises:
        DataError: the file cannot be read, or its packing is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.__class__.__name__})", "check its permissions") from None
    return unpack(content, str(path))


def check(folder: Path, source: str, file: DataFile) -> Check:
    """Compare one file with its checksum."""
    path = find(folder, source, file.name)
    if path is None:
        return Check(file.name, "missing", None)
    if file.sha256 is None:
        return Check(file.name, "unchecked", path)
    try:
        same = hashlib.sha256(read_unpacked(path)).hexdigest() == file.sha256
    except DataError:
        same = False
    return Check(file.name, "ok" if same else "differs", path)


def verify(source: Source, folder: Path) -> list[Check]:
    """Compare every file of a source with its checksum."""
    return [check(folder, source.name, file) for file in source.files]


def is_usable(source: Source, checks: list[Check]) -> bool:
    """Whether what ``verify`` found is enough to load the source: nothing differs, nothing needed is missing."""
    states = [found.state for found in checks]
    missing = states.count("missing")
    enough = missing < len(states) if source.alternatives else missing == 0
    return enough and "differs" not in states


def whereabouts(source: Source, folder: Path) -> str | None:
    """Where the points of a source come from, in words or as folders; None if its files are not found."""
    if not source.files:
        return source.where
    found = [path for file in source.files if (path := find(folder, source.name, file.name)) is not None]
    enough = 1 if source.alternatives else len(source.files)
    return ", ".join(sorted({str(path.parent) for path in found})) if len(found) >= enough else None
