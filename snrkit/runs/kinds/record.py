"""Results in JSON files: one object that bears a checksum, with a list of rows and what is the same for all of them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snrkit.checksums import signed
from snrkit.errors import ResultsError
from snrkit.files import read_json, write_json
from snrkit.runs.kinds.base import Kind

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class JsonKind(Kind):
    """A kind that is kept as a JSON object.

    Attributes:
        noun: what it is, in an error message.
        rows: where the list of rows is.
        shared: columns that the object has, and not its rows.
    """

    noun: str = ""
    rows: str = "rows"
    shared: tuple[str, ...] = ()

    def read(self, path: Path) -> "pd.DataFrame":
        """See ``Kind.read``; null, which stands for what JSON cannot say, is NaN."""
        return self.frame(read_json(path), path)

    def write(self, path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
        """Write an object, whole or not at all.

        Args:
            path: the file.
            record: what is to be in it; numbers that are not finite become null.

        Returns:
            What was written.

        Raises:
            OutputError: the file cannot be written.
            ResultsError: it is not of the kind.
        """
        result = signed({"schema": self.version} | _finite(record))
        missing = self.missing([*result, *(name for row in result[self.rows] for name in row)])
        if result[self.rows] and missing:
            raise self.error(path, f"columns missing: {', '.join(missing)}")
        self.frame(result, path)
        write_json(path, result)
        return result

    def frame(self, record: Any, path: Path) -> "pd.DataFrame":
        """The rows of an object as read, each with what is the same for all.

        Raises:
            ResultsError: it is not of the kind.
        """
        import pandas as pd

        from snrkit.runs.kinds import check

        rows, version = (record.get(self.rows), record.get("schema", 1)) if isinstance(record, dict) else (None, 1)
        # First, for a newer one may have no rows.
        if isinstance(version, int):
            self.require_version(path, version)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.error(path, f"it has no list of {self.rows}")
        if not isinstance(version, int) or version < 1:
            raise self.error(path, f"its schema is {version!r:.40}, not a whole number from 1 on")
        if not rows:
            return pd.DataFrame(columns=[name for name, column in self.columns.items() if column.since == 1])
        given = {name: [record[name]] * len(rows) for name in self.shared if name in record}
        needed, everywhere = self.missing([], 1), set.intersection(*map(set, rows))
        names = dict.fromkeys(name for row in rows for name in row if name in everywhere or name not in needed)
        given |= {name: [row.get(name) for row in rows] for name in names}
        # As objects, so that a null makes no integer a float.
        return check.checked(self, pd.DataFrame(given, dtype=object), path)

    def error(self, path: Path, problem: str) -> ResultsError:
        """See ``Kind.error``."""
        return super().error(path, f"not {self.noun} ({problem})")


def _finite(value: Any) -> Any:
    """A value without NaN and infinity, which JSON lacks."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
