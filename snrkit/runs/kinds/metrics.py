"""What is noted of a run after each epoch: one JSON object per line, each with its checksum, so that lines are appended."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snrkit import checksums
from snrkit.errors import ResultsError
from snrkit.files import append_line, parse_json, read_bytes, write_text
from snrkit.runs.kinds.base import RUN, Kind, count, number, optional

if TYPE_CHECKING:
    import pandas as pd

# A line with its checksum, and more.
_WHOLE_LINE = re.compile(rf'"{checksums.KEY}": "[0-9a-f]+"\}}.')


@dataclass(frozen=True)
class LinesKind(Kind):
    """A kind that is kept as lines of JSON."""

    def read(self, path: Path) -> "pd.DataFrame":
        """See ``Kind.read``."""
        import pandas as pd

        from snrkit.runs.kinds import check

        lines = self.rows(path)
        rows = pd.DataFrame(lines) if lines else pd.DataFrame(columns=list(self.columns))
        return check.checked(self, rows, path)

    def rows(self, path: Path) -> list[dict[str, Any]]:
        """The lines, oldest first; none if there is no such file.

        What follows the last line end is left out: a line cut short when the run was killed or the disk was full.

        Raises:
            ResultsError: a line is not a JSON object with an epoch.
        """
        try:
            text = read_bytes(path).decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            problem = f"cannot be read ({error.__class__.__name__})"
            raise ResultsError(str(path), problem, "make it readable, or delete it") from None
        *lines, rest = text.split("\n")
        if _WHOLE_LINE.search(rest):
            lines.append(rest)  # Its end was written, and is another character now: not cut short, but damaged.
        return [self._row(path, line, number) for number, line in enumerate(lines, start=1)]

    def last(self, path: Path) -> dict[str, Any]:
        """The last line, those before it not looked at; empty if there is none. See ``rows``.

        Raises:
            ResultsError: it is not a JSON object with an epoch.
        """
        try:
            whole = read_bytes(path).rpartition(b"\n")[0]
        except OSError:
            return {}
        line = whole.rpartition(b"\n")[2].decode("utf-8", "replace")
        return self._row(path, line, whole.count(b"\n") + 1) if whole else {}

    def _row(self, path: Path, line: str, number: int) -> dict[str, Any]:
        try:
            row = parse_json(line)
            row = checksums.checked(row) if isinstance(row, dict) else None
        except checksums.ChecksumError:
            problem = f"line {number} is damaged: it is not what was written (its checksum differs)"
            raise ResultsError(str(path), problem, "delete that line") from None
        except ValueError:
            row = None
        if row is None or not _is_count(row.get("epoch")):
            raise ResultsError(str(path), f"line {number} is not a JSON object with an epoch", "delete that line")
        for name in self.columns.keys() & row.keys():
            if isinstance(row[name], bool) or not isinstance(row[name], int | float | None):
                problem = f"column '{name}' holds something else than numbers (line {number}: {row[name]!r:.40})"
                raise self.error(path, problem)
        return dict(row)

    def write(self, path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace all lines by these.

        Raises:
            OutputError: the file cannot be written.
        """
        write_text(path, "".join(json.dumps(checksums.signed(row)) + "\n" for row in rows))

    def append(self, path: Path, row: Mapping[str, Any]) -> None:
        """Append one line.

        Raises:
            OutputError: the file cannot be written.
        """
        append_line(path, json.dumps(checksums.signed(row)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


METRICS = LinesKind(
    name="metrics",
    pattern="metrics.jsonl",
    columns={
        "epoch": count("number of the epoch, from 1"),
        "step": RUN["step"],
        "bound": optional(number("the estimator's own bound, mean over the epoch, nats")),
        "test_iwae64": optional(number("64-sample bound on the first test points, nats")),
        "beta": optional(number("weight of the ELBO in ciwae's objective")),
        "lr": optional(number("learning rate")),
        "seconds": optional(number("wall time")),
        "images_per_second": optional(number("speed")),
        "rounded_at": optional(number("last step from whose state with moments in bfloat16 the run went on")),
    },
    remedy="delete the lines at fault",
    key=("epoch",),
    of_run=("config.toml", "status.json"),
)
