"""Checkpoints of several runs that are replaced together, or not at all, whenever the process is killed.

Each new checkpoint is first written beside the old one. Then one file, the marker, is written: from then on they count. Last
they take the place of the old ones and the marker goes; if that was cut short, ``recover`` does it again from the marker.
"""

from functools import partial
from pathlib import Path

from snrkit.errors import DIVERGED
from snrkit.results import RunDir, guard, read_json, write_json
from snrkit.training.checkpoint import Checkpoint, save_checkpoint

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
        self._saved.append(run.name)

    def finish(self, failed: dict[str, str]) -> None:
        """Let all that was staged take effect.

        Args:
            failed: runs to be marked as failed in the same breath, and why.

        Raises:
            OutputError: a file cannot be written.
        """
        write_json(self._marker, {"saved": self._saved, "failed": failed})
        recover(self._marker)


def recover(marker: Path) -> None:
    """Do what a marker says: again, if the process that wrote it was killed.

    Raises:
        OutputError: a file cannot be written.
        ResultsError: the marker cannot be read.
    """
    record = read_json(marker)
    for name in record["saved"]:
        run = RunDir(marker.parent / name)
        staged = run.path / STAGED
        if staged.exists():
            guard(run.checkpoint, partial(staged.replace, run.checkpoint))
    for name, why in record["failed"].items():
        RunDir(marker.parent / name).set_status("failed", why, DIVERGED)
    marker.unlink()
