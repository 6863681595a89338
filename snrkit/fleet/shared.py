"""Results that workers put where whoever asked sees them, so that no more than word of them comes back.

A folder is seen by a worker if it can read there, under the same path, what the one who asks has just written: then both
mean the same storage. Whoever does not see it sends results back. Files are written whole or not at all, so that a worker
that is killed leaves none that could be read, and what is read bears a checksum like what is sent.
"""

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from snrkit.errors import SnrkitError
from snrkit.files import hold, is_held, read_bytes, write_bytes

_PROOF = ".seen-"


@dataclass(frozen=True)
class Spot:
    """Where a result may be put.

    Attributes:
        file: its path.
        proof: path of the file that shows whether the folder is the one that is meant.
        token: what stands in that.
    """

    file: str
    proof: str
    token: bytes


class SharedFolder:
    """A folder that workers may see; until ``end`` it has a file that proves it to them.

    Args:
        folder: the folder, which is made.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._token = secrets.token_bytes(16)
        self._proof = folder.absolute() / f"{_PROOF}{self._token.hex()[:12]}"
        write_bytes(self._proof, self._token)
        self._handle = hold(self._proof)

    def spot(self, file: Path) -> Spot:
        """Where the result of that file may be put."""
        return Spot(str(file.absolute()), str(self._proof), self._token)

    def end(self) -> None:
        """Take the proof away, and the folder if nothing came of it."""
        with suppress(OSError):
            os.close(self._handle)
            self._proof.unlink(missing_ok=True)
            self._proof.parent.rmdir()


def put(spot: Spot, content: bytes) -> bool:
    """Put a result into its place, in a worker; False: it is not seen there, or cannot be written, and nothing was."""
    try:
        if read_bytes(Path(spot.proof), len(spot.token) + 1) != spot.token:
            return False
        write_bytes(Path(spot.file), content)
    except (OSError, SnrkitError):
        return False
    return True


def taken(spot: Spot) -> bytes | None:
    """The result that a worker has put there; None where it cannot be read."""
    with suppress(OSError):
        return read_bytes(Path(spot.file))
    return None


def discard_proofs(folder: Path) -> None:
    """Delete what is left of asking processes that were killed; that of one at work stays.

    Where locks are not seen by all machines, one at work may have its results sent back from now on.

    Raises:
        OSError: it cannot be deleted.
    """
    for proof in folder.glob(f"{_PROOF}*"):
        if not is_held(proof):
            proof.unlink(missing_ok=True)
