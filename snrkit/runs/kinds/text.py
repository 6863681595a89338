"""Small results in CSV files, to be read by people too, every row with its checksum."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit import checksums
from snrkit.files import damaged, read_bytes, write_text
from snrkit.runs.kinds.base import TableKind

if TYPE_CHECKING:
    import pandas as pd

# What may stand for a missing number.
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None"]


@dataclass(frozen=True)
class CsvKind(TableKind):
    """A kind that is kept as CSV."""

    def read(self, path: Path) -> "pd.DataFrame":
        """See ``Kind.read``; text stays as it is, for a run may be called "NA" or "007"."""
        import pandas as pd

        from snrkit.runs.kinds import check

        try:
            text = _text(path)
            header = next(csv.reader(io.StringIO(text, newline="")), [])
            texts = [name for name in header if name in self.columns and self.columns[name].content == "text"]
            table = pd.read_csv(
                io.StringIO(text),
                dtype=dict.fromkeys(texts, "str"),
                na_values={name: _MISSING for name in header if name not in texts},
                keep_default_na=False,
            )
        except checksums.ChecksumError:
            raise damaged(path, f"{self.remedy}, or its column '{checksums.KEY}' if you changed it yourself") from None
        except (OSError, ValueError, csv.Error, OverflowError) as error:
            raise self.error(path, f"not a readable CSV file ({error.__class__.__name__})") from None
        return check.checked(self, table, path)

    def write(self, path: Path, table: "pd.DataFrame") -> None:
        """See ``TableKind.write``."""
        self._save(path, self._prepared(table))

    def _kept(self, path: Path) -> "pd.DataFrame":
        """As text, so that no digit of a row that stays is lost."""
        read = self.read(path)
        rows = _as_text(_text(path)).drop(columns=checksums.KEY, errors="ignore")
        later = read[[name for name in read if name not in rows]]
        return rows.assign(**{str(name): later[name].astype(str) for name in later})

    def _prepared(self, table: "pd.DataFrame") -> "pd.DataFrame":
        return _as_text(self.complete(table).to_csv(index=False))

    def _save(self, path: Path, rows: "pd.DataFrame") -> None:
        write_text(path, _with_checksums(rows.fillna("").to_csv(index=False)))


def _as_text(text: str) -> "pd.DataFrame":
    import pandas as pd

    return pd.read_csv(io.StringIO(text), dtype="str", keep_default_na=False)


def _with_checksums(text: str) -> str:
    """CSV text with a checksum of every row as its last column."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([*header, checksums.KEY])
    writer.writerows([*row, checksums.of_row(header, row)] for row in rows)
    return lines.getvalue()


def _text(path: Path) -> str:
    """The text of a CSV file, its rows seen to be what was written.

    Raises:
        checksums.ChecksumError: a row has a checksum that is wrong.
    """
    text = read_bytes(path).decode("utf-8")
    header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    if header[-1:] == [checksums.KEY] and any(
        row[-1:] != [checksums.of_row(header[:-1], row[:-1])] for row in rows if row
    ):
        raise checksums.ChecksumError
    return text
