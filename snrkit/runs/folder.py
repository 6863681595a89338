"""The run directory: its files by name, the record of its epochs and how it stands. Imports no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snrkit.errors import ResultsError
from snrkit.files import discard_partial, read_json, write_json
from snrkit.runs.kinds.metrics import METRICS

# Of the checkpoints kept along the way.
STEPS = "steps"


class RunDir:
    """The files of one training run.

    ``run.pt`` checkpoint; ``config.toml`` resolved spec; ``env.json`` versions, device, commit, argv, also of every
    resumption; ``metrics.jsonl``
    one line per epoch; ``status.json`` running, done, interrupted or failed (why); ``error.txt`` the traceback of an error
    of the program in a sweep; ``snr.parquet``, ``evaluation.json``, ``latents.parquet`` and ``reconstructions.parquet``
    what was measured on the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.path.resolve().name

    @property
    def checkpoint(self) -> Path:
        """The latest checkpoint."""
        return self.path / "run.pt"

    @property
    def steps(self) -> Path:
        """Folder of the checkpoints kept along the way."""
        return self.path / STEPS

    @property
    def config(self) -> Path:
        """The resolved spec."""
        return self.path / "config.toml"

    @property
    def env(self) -> Path:
        """Versions, device, commit and command line."""
        return self.path / "env.json"

    @property
    def metrics(self) -> Path:
        """One JSON object per finished epoch."""
        return self.path / "metrics.jsonl"

    @property
    def status(self) -> Path:
        """How the run stands."""
        return self.path / "status.json"

    @property
    def error(self) -> Path:
        """The traceback of an error of the program that ended the run in a sweep."""
        return self.path / "error.txt"

    @property
    def snr(self) -> Path:
        """The latest gradient measurement."""
        return self.path / "snr.parquet"

    @property
    def evaluation(self) -> Path:
        """The latest evaluation."""
        return self.path / "evaluation.json"

    @property
    def reconstructions(self) -> Path:
        """The latest reconstructions."""
        return self.path / "reconstructions.parquet"

    @property
    def latents(self) -> Path:
        """The latest means of the latent variables."""
        return self.path / "latents.parquet"

    def discard_partial(self) -> None:
        """Delete what killed processes left half written of what only training writes; for who alone trains the run.

        Raises:
            OutputError: the directory cannot be written.
        """
        for file in (self.checkpoint, self.config, self.env, self.metrics, self.status, self.error, self.steps / "*"):
            discard_partial(file)

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``, oldest first; see ``METRICS.rows``."""
        return METRICS.rows(self.metrics)

    def write_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace ``metrics.jsonl`` by these rows; see ``METRICS.write``."""
        METRICS.write(self.metrics, rows)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``; see ``METRICS.append``."""
        METRICS.append(self.metrics, row)

    def state(self) -> str:
        """How the run stands, as recorded; empty if that is missing or cannot be read."""
        return str(self.standing().get("state", ""))

    def standing(self) -> dict[str, Any]:
        """What ``set_status`` recorded; nothing if that is missing or cannot be read."""
        try:
            found = read_json(self.status)
        except ResultsError:
            return {}
        return found if isinstance(found, dict) else {}

    def set_status(self, state: str, why: str = "", code: int = 0) -> None:
        """Record how the run stands: running, done, interrupted or failed, and the exit code of a failure.

        Raises:
            OutputError: the file cannot be written.
        """
        write_json(self.status, {"state": state, "why": why} | ({"code": code} if code else {}))
