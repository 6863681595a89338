"""Checksums in what is written, verified when it is read. Standard library only.

A file of bytes bears a *seal*: a mark, and the SHA-256 of all other bytes. It stands where other programs pass over it: as
the comment of a zip file (checkpoints, blocks of draws), or between the data and the footer of a Parquet file, whose readers
go by offsets. Any flipped bit is found: in the mark too, for half of it is enough to tell that there was a seal. Text bears
a checksum in every record, so that lines can be appended.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Not UTF-8, so that no text of a user's is taken for them.
_HALVES = b"\x93snrkit\x8f", b"\x8fsha256\x93"
_MARK = b"".join(_HALVES)
_SIZE = len(_MARK) + hashlib.sha256().digest_size
_END_OF_ZIP, _END_OF_ZIP_SIZE = b"PK\x05\x06", 22
_PARQUET = b"PAR1"
KEY = "checksum"
_DIGITS = 16
_log = logging.getLogger("snrkit.checksums")


class ChecksumError(ValueError):
    """Content is not what was written."""


def seal_zip(content: bytes) -> bytes:
    """A zip file without a comment, with a seal as its comment."""
    if content[-_END_OF_ZIP_SIZE:][:4] != _END_OF_ZIP:
        raise ValueError("no zip file without a comment")
    return _sealed(content[:-2] + _SIZE.to_bytes(2, "little"), len(content))


def seal_parquet(content: bytes) -> bytes:
    """A Parquet file with a seal before its footer."""
    if content[-4:] != _PARQUET:
        raise ValueError("no Parquet file")
    footer = int.from_bytes(content[-8:-4], "little")
    return _sealed(content, len(content) - 8 - footer)


def _sealed(content: bytes, at: int) -> bytes:
    return content[:at] + _MARK + hashlib.sha256(content).digest() + content[at:]


def verify(content: bytes) -> bool:
    """Whether a file bears a seal, which then is right.

    Raises:
        ChecksumError: it bears one that is wrong, or the rest of one.
    """
    at = content.rfind(_MARK)
    if at < 0:
        if any(half in content for half in _HALVES):
            raise ChecksumError
        return False
    digest = hashlib.sha256(content[:at])
    digest.update(content[at + _SIZE :])
    if digest.digest() != content[at + len(_MARK) : at + _SIZE]:
        raise ChecksumError
    return True


def signed(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of JSON with its checksum."""
    bare = {key: value for key, value in record.items() if key != KEY}
    return bare | {KEY: _digest(json.dumps(bare, sort_keys=True))}


def checked(record: dict[str, Any]) -> dict[str, Any]:
    """A record of JSON without its checksum, which is right if it has one.

    Raises:
        ChecksumError: it is wrong.
    """
    if KEY not in record:
        return record
    bare = {key: value for key, value in record.items() if key != KEY}
    if record[KEY] != _digest(json.dumps(bare, sort_keys=True)):
        raise ChecksumError
    return bare


def of_row(header: Sequence[str], row: Sequence[str]) -> str:
    """The checksum of one row of a text table."""
    return _digest(json.dumps([*header, *row]))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def note_unsealed(path: Path) -> None:
    """Say, to whoever listens, that a file that is read bears no checksum."""
    _log.info("%s has no checksum, since it is from before they were written; damage to it would not be seen", path)


@contextmanager
def unsealed() -> Iterator[dict[str, None]]:
    """The files without a checksum that are read within the block, each once."""
    found: dict[str, None] = {}

    class Listener(logging.Handler):
        """Keeps the names."""

        def emit(self, record: logging.LogRecord) -> None:
            found[str(record.args[0] if isinstance(record.args, tuple) else "")] = None

    listener, level = Listener(), _log.level
    _log.addHandler(listener)
    _log.setLevel(logging.INFO)
    try:
        yield found
    finally:
        _log.removeHandler(listener)
        _log.setLevel(level)
