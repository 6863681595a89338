"""Fetching data files, on request only, from mirrors that need not be trusted: what comes is checked."""

import hashlib
import logging
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from snrkit.data.base import DataFile, Source
from snrkit.data.folder import check, read_unpacked
from snrkit.errors import DataError, OutputError
from snrkit.types import Progress

# Large enough that a progress bar costs nothing, small enough that it moves.
CHUNK_BYTES = 1 << 16


class _Progress:
    """Feeds pooch's progress calls, in bytes, to ``update(done, total, note)``, in MB."""

    def __init__(self, update: Progress, note: str) -> None:
        self.total = 0
        self._done = 0
        self._update = update
        self._note = note

    def update(self, size: int) -> None:
        """So many bytes more have come."""
        self._done += size
        self._update(round(self._done / 1e6, 1), round(self.total / 1e6, 1), self._note)

    def reset(self) -> None:
        """Count from zero again."""
        self._done = 0

    def close(self) -> None:
        """Nothing to close: the display belongs to the caller."""


def fetch(source: Source, folder: Path, update: Progress) -> list[Path]:
    """Download what is missing or damaged into ``folder/<source>/``, unpacked.

    Args:
        source: what to fetch.
        folder: the data folder.
        update: called with (megabytes done, megabytes in all, file name).

    Returns:
        The files written: empty if all were there already, or the source needs none.

    Raises:
        DataError: this source cannot be fetched, or no mirror gave the right bytes.
        OutputError: the folder cannot be written.
    """
    # Imported here because it loads pandas, which listing data does not need.
    from snrkit.files import write_bytes

    if source.by_hand:
        raise DataError(
            source.name, "cannot be fetched: no address of its files is known with a checksum", source.by_hand
        )
    written = []
    for file in source.files:
        if check(folder, source.name, file).state == "ok":
            continue
        # Unpacked and in the subfolder, since that is where the search begins: a damaged copy elsewhere is passed over.
        path = folder / source.name / file.name
        try:
            write_bytes(path, _from_mirrors(file, source.mirrors, path.parent, update))
        except OutputError as error:
            raise OutputError(error.argument, error.problem, "give a `data_dir` that you may write to") from None
        written.append(path)
    return written


def _from_mirrors(file: DataFile, mirrors: tuple[str, ...], folder: Path, update: Progress) -> bytes:
    failures = []
    for mirror in mirrors:
        try:
            content = _download(f"{mirror}{file.name}.gz", update)
        except (OSError, DataError) as error:
            failures.append(f"{urlsplit(mirror).netloc}: {error.__class__.__name__}")
            continue
        if hashlib.sha256(content).hexdigest() == file.sha256:
            return content
        failures.append(f"{urlsplit(mirror).netloc}: wrong checksum")
    remedy = f"check the network, or put {file.name}.gz into {folder} yourself"
    raise DataError(file.name, f"no mirror gave it ({', '.join(failures)})", remedy)


def _download(url: str, update: Progress) -> bytes:
    import pooch

    # Without a known hash pooch advises, at level INFO, to pin the archive's: we check the unpacked bytes instead.
    pooch.get_logger().setLevel(logging.WARNING)
    name = url.rpartition("/")[2]
    downloader = pooch.HTTPDownloader(progressbar=_Progress(update, name), chunk_size=CHUNK_BYTES)
    with tempfile.TemporaryDirectory() as temporary:
        return read_unpacked(Path(pooch.retrieve(url, None, fname=name, path=temporary, downloader=downloader)))
