"""Where data files live, and whether they are the right ones."""

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from snrkit.data.base import DataFile, Source
from snrkit.errors import DataError

VARIABLE = "SNRKIT_DATA"
GZIP_MAGIC = b"\x1f\x8b"
# Of an unpacked file: some kilobytes can unpack to gigabytes, so nothing is unpacked without a limit.
MOST_BYTES = 2 * 2**30
_CHUNK = 2**20
# Sources whose files bear the same names, and the folder in which torchvision keeps each (as FOLDER/raw): what lies where
# is told by the contents, not by the folder.
SAME_NAMES = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
# What looks like a file of images in IDX format, of whatever origin.
_IMAGES = re.compile(r"(train|t10k|test).*(image|img|idx3)", re.IGNORECASE)
_MOST_NAMED = 4

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


def candidates(folder: Path, source: str, name: str) -> list[Path]:
    """All places where a file of a source lies, in the order in which they are looked at.

    First the source's own subfolder, then that of torchvision, then the folder itself, last the subfolders of sources whose
    files have the same names. There each file may be named ``x-idx3-ubyte`` or ``x.idx3-ubyte``, as is or with ``.gz``.
    """
    own = [source, *([SAME_NAMES[source]] if source in SAME_NAMES else [])]
    others = [other for pair in SAME_NAMES.items() for other in pair if source in SAME_NAMES and other not in own]
    parents = [*(folder / sub for sub in own), *(folder / sub / "raw" for sub in own), folder, folder / "raw"]
    parents += [folder / sub / raw for sub in others for raw in ("", "raw")]
    names = dict.fromkeys([name, re.sub(r"-(?=idx\d)", ".", name)])
    places = [parent / (one + suffix) for parent in parents for one in names for suffix in ("", ".gz")]
    return [place for place in places if is_file(place)]


def is_file(path: Path) -> bool:
    """Whether there is such a regular file that can be looked at (no pipe, which would be waited for)."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder that can be looked at."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def find(folder: Path, source: str, name: str) -> Path | None:
    """The first of ``candidates``; None if there is none."""
    return next(iter(candidates(folder, source, name)), None)


def missing(folder: Path, source: str, name: str, remedy: str) -> DataError:
    """What to say where a file of a source is nowhere: where it was looked for, and what there looks like it."""
    near = list(dict.fromkeys(_looking_alike([folder, folder / "raw", folder / source, folder / source / "raw"])))
    seen = f" ({', '.join(near[:_MOST_NAMED])} is there)" if near else ""
    return DataError(source, f"{name} is neither in {folder / source} nor in {folder}{seen}", remedy)


def _looking_alike(folders: list[Path]) -> Iterator[str]:
    for folder in folders:
        try:
            names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file())
        except OSError:
            continue
        yield from (name for name in names if _IMAGES.search(name))


def read_unpacked(path: Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file, without gzip packing.

    Args:
        path: the file.
        most: bytes that it may have unpacked.

    Raises:
        DataError: the file cannot be read, its packing is damaged, or it is larger; no more than that is unpacked.
    """
    try:
        with path.open("rb") as stream:
            packed = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            stream.seek(0)
            content = _read(gzip.GzipFile(fileobj=stream) if packed else stream, most)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        problem = f"damaged gzip file ({error.__class__.__name__})"
        raise DataError(str(path), problem, "delete it and get it again") from None
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.__class__.__name__})", "check its permissions") from None
    if len(content) > most:
        raise DataError(
            str(path), f"has more than {most:,} bytes{' unpacked' if packed else ''}", "get it again, or give less data"
        )
    return content


def _read(stream: gzip.GzipFile | BinaryIO, most: int) -> bytes:
    """All bytes, or ``most`` and a few more."""
    parts, size = [], 0
    while size <= most and (part := stream.read(min(_CHUNK, most + 1 - size))):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def known_content(path: Path, file: DataFile, most: int = MOST_BYTES) -> bytes | None:
    """The unpacked bytes of the file at a path, if it is the one known by its checksum, packed or unpacked; else None.

    Raises:
        DataError: it cannot be read or unpacked.
    """
    published = file.packed is not None and digest(path) == file.packed
    if not published and file.sha256 is None:
        return None
    content = read_unpacked(path, most)
    return content if published or hashlib.sha256(content).hexdigest() == file.sha256 else None


def digest(path: Path) -> str:
    """SHA-256 of a file as it lies there.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(str(path), f"cannot be read ({error.__class__.__name__})", "check its permissions") from None


def check(folder: Path, source: str, file: DataFile) -> Check:
    """Compare a file with its checksum; of several places the first with the right one counts."""
    places = candidates(folder, source, file.name)
    if not places:
        return Check(file.name, "missing", None)
    if file.sha256 is None and file.packed is None:
        return Check(file.name, "unchecked", places[0])
    for place in places:
        try:
            if known_content(place, file) is not None:
                return Check(file.name, "ok", place)
        except DataError:
            continue
    # The right one may yet be missing, where all that was found are those of another source with the same names.
    own = [place for place in places if not _is_of_another(folder, source, place)]
    return Check(file.name, "differs", own[0]) if own else Check(file.name, "missing", None)


def _is_of_another(folder: Path, source: str, place: Path) -> bool:
    others = {name for other, sub in SAME_NAMES.items() if other != source for name in (other, sub)}
    return source in SAME_NAMES and place.relative_to(folder).parts[0] in others


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
    if source.name in SAME_NAMES:
        checks = verify(source, folder)
        found = [one.path for one in checks if one.path is not None and one.state == "ok"]
    else:
        found = [path for file in source.files if (path := find(folder, source.name, file.name)) is not None]
    enough = 1 if source.alternatives else len(source.files)
    return ", ".join(sorted({str(path.parent) for path in found})) if len(found) >= enough else None
