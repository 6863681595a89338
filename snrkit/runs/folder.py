"""The run directory: its files by name, the record of its epochs and how it stands. Imports no torch."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snrkit import checksums
from snrkit.errors import ResultsError
from snrkit.files import append_line, parse_json, read_bytes, read_json, write_json, write_text

# What a line of ``metrics.jsonl`` says of an epoch, beside its number.
_FOLLOWED = frozenset({"step", "bound", "lr", "seconds", "images_per_second", "beta", "test_iwae64"})
# A line with its checksum, and more.
_WHOLE_LINE = re.compile(rf'"{checksums.KEY}": "[0-9a-f]+"\}}.')


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


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
        return self.path / "steps"

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

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl``, oldest first; none if there is no such file.

        What follows the last line end is left out: a line cut short when the run was killed or the disk was full.

        Raises:
            ResultsError: a line is not a JSON object with an epoch.
        """
        try:
            text = read_bytes(self.metrics).decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            problem = f"cannot be read ({error.__class__.__name__})"
            raise ResultsError(str(self.metrics), problem, "make it readable, or delete it") from None
        *lines, rest = text.split("\n")
        if _WHOLE_LINE.search(rest):
            lines.append(rest)  # Its end was written, and is another character now: not cut short, but damaged.
        return [self._metrics_row(line, number) for number, line in enumerate(lines, start=1)]

    def _metrics_row(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = parse_json(line)
            row = checksums.checked(row) if isinstance(row, dict) else None
        except checksums.ChecksumError:
            problem = f"line {number} is damaged: it is not what was written (its checksum differs)"
            raise ResultsError(str(self.metrics), problem, "delete that line") from None
        except ValueError:
            row = None
        if row is None or not _is_count(row.get("epoch")):
            problem = f"line {number} is not a JSON object with an epoch"
            raise ResultsError(str(self.metrics), problem, "delete that line")
        for name in _FOLLOWED.intersection(row):
            if isinstance(row[name], bool) or not isinstance(row[name], int | float | None):
                problem = f"column '{name}' holds something else than numbers (line {number}: {row[name]!r:.40})"
                raise ResultsError(str(self.metrics), problem, "delete the lines at fault")
        return dict(row)

    def write_metrics(self, rows: list[Mapping[str, Any]]) -> None:
        """Replace ``metrics.jsonl`` by these rows.

        Raises:
            OutputError: the file cannot be written.
        """
        write_text(self.metrics, "".join(json.dumps(checksums.signed(row)) + "\n" for row in rows))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``.

        Raises:
            OutputError: the file cannot be written.
        """
        append_line(self.metrics, json.dumps(checksums.signed(row)))

    def state(self) -> str:
        """How the run stands, as recorded; empty if that is missing or cannot be read."""
        try:
            return str(read_json(self.status)["state"])
        except (ResultsError, KeyError, TypeError):
            return ""

    def set_status(self, state: str, why: str = "", code: int = 0) -> None:
        """Record how the run stands: running, done, interrupted or failed, and the exit code of a failure.

        Raises:
            OutputError: the file cannot be written.
        """
        write_json(self.status, {"state": state, "why": why} | ({"code": code} if code else {}))
