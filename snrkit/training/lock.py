"""One process at a time in a folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snrkit.errors import ResourceError
from snrkit.results import output_error

_LOCK = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs and sweeps out of a folder, which is made, while the block runs; it goes if nothing is put there.

    Raises:
        ResourceError: one is at work there.
        OutputError: the folder cannot be written.
    """
    file = folder / _LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = file.open("a")
    except OSError as error:
        raise output_error(folder, error) from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            problem = f"another process is at work in '{folder}'"
            raise ResourceError("--out", problem, "wait for it, or stop it") from None
        try:
            yield
        finally:
            if list(folder.iterdir()) == [file]:
                file.unlink()
                folder.rmdir()
