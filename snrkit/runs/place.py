"""Where a result goes: known before it is computed, and the same folder still when it is written."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from snrkit.errors import SpecError
from snrkit.files import pinned, require_writable


@dataclass(frozen=True)
class Place:
    """A file that a result is for.

    Attributes:
        path: the file.
        since: what its folder was when the work began (see ``files.pinned``).
    """

    path: Path
    since: tuple[int, int]

    @property
    def partial(self) -> Path:
        """The folder of what is finished of it, for the same call to go on from."""
        return self.path.with_suffix(".partial")


@contextmanager
def reserved(path: Path) -> Iterator[Place]:
    """A place for a result that is computed within the block.

    Raises:
        OutputError: it cannot be written there.
    """
    require_writable(path)
    with pinned(path.parent) as since:
        yield Place(path, since)


@contextmanager
def target(place: Place | None, path: Path | None = None) -> Iterator[Path]:
    """The file to write a result to within the block.

    Args:
        place: what was reserved for it; its folder must not have been replaced meanwhile.
        path: where the result is to go instead.

    Raises:
        SpecError: neither is given.
        OutputError: it cannot be written there.
    """
    if path is None and place is None:
        raise SpecError("path", "is needed, for this belongs to no run", "name the file to write")
    if path is not None:
        require_writable(path)
        yield path
    elif place is not None:
        with pinned(place.path.parent, place.since):
            yield place.path
