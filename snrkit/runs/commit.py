"""Checkpoints of several runs that are replaced together, or not at all, whenever the process is killed.

Each new checkpoint is first written beside the old one. Then one file, the marker, is written: from then on they count. Last
they take the place of the old ones and the marker goes; if that was cut short, ``recover`` does it again from the marker.
"""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from snrkit import files
from snrkit.errors import DIVERGED, ResultsError
from snrkit.files import guard, read_json, write_json
from snrkit.runs.checkpoint import Checkpoint, save_checkpoint
from snrkit.runs.folder import RunDir

STAGED = "run.next"


class Commit:
    """New checkpoints of runs whose directories lie beside one another.

    Args:
        marker: the file that makes them count, in the folder of the run directories.
    """

    def __init__(self, marker: Path) -> None:
        self._marker = marker
        self._saved: list[str] = []

    def stage(self, run: RunDir, checkpoint: Checkpoint) -> None:
        """Write a checkpoint beside the run's present one.

        Raises:
            OutputError: the file cannot be written.
        """
        save_checkpoint(run.path / STAGED, checkpoint)
        self._saved.append(run.path.name)

    def finish(self, failed: dict[str, str]) -> None:
        """Let all that was staged take effect.

        Args:
            failed: runs to be marked as failed in the same breath, and why.

        Raises:
            OutputError: a file cannot be written.
        """
        write_json(self._marker, {"saved": self._saved, "failed": failed})
        recover(self._marker, {*self._saved, *failed})


def recover(marker: Path, own: Collection[str]) -> None:
    """Do what a marker says: again, if the process that wrote it was killed.

    Args:
        marker: the file.
        own: names of the runs that it may speak of.

    Raises:
        OutputError: a file cannot be written.
        ResultsError: the marker cannot be read, or names anything else; nothing is changed.
    """
    saved, failed = _read(marker)
    runs = {name: _run(marker, name, own) for name in (*saved, *failed)}
    for name in saved:
        run = runs[name]
        staged = run.path / STAGED
        if staged.exists():
            guard(run.checkpoint, partial(staged.replace, run.checkpoint))
    for name, why in failed.items():
        runs[name].set_status("failed", why, DIVERGED)
    files.guard(marker, marker.unlink)


def _read(marker: Path) -> tuple[list[str], dict[str, str]]:
    record = read_json(marker)
    saved, failed = (record.get(name) for name in ("saved", "failed")) if isinstance(record, dict) else (None, None)
    texts = isinstance(saved, list) and isinstance(failed, dict) and [*saved, *failed, *failed.values()]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ResultsError(
            str(marker), "is no record of a save", "delete it: the runs go on from what was saved before"
        )
    return saved, failed  # type: ignore[return-value]


def _run(marker: Path, name: str, own: Collection[str]) -> RunDir:
    """A run that a marker names: of the sweep's own, and a folder that lies beside the marker itself."""
    run = RunDir(files.inside(marker.parent, name))
    if name not in own:
        remedy = "sweep with the grid that left it there, or delete it: its runs then go on from what was saved before"
        raise ResultsError(str(marker), f"names {name!r:.80}, which is no run of this sweep", remedy)
    if run.path.is_symlink() or not run.path.is_dir() or (run.path / STAGED).is_symlink():
        raise ResultsError(str(marker), f"names {name!r:.80}, which is no folder beside it", "delete it")
    return run
