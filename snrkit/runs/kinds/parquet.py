"""Results in Parquet files that bear a checksum, with the version of their schema in the metadata."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit import checksums
from snrkit.files import damaged, read_bytes, write_bytes
from snrkit.runs.kinds.base import TableKind

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_MARK = b"snrkit_schema"
_VERSION_DIGITS = 9


@dataclass(frozen=True)
class ParquetKind(TableKind):
    """A kind that is kept as Parquet.

    Attributes:
        marked: whether a file without a version is none of ours, since any Parquet file may have such a name.
    """

    marked: bool = False

    def read(self, path: Path) -> "pd.DataFrame":
        """See ``Kind.read``."""
        from snrkit.runs.kinds import check

        table = self._load(path)
        version = self._version(table.schema)
        if not version:
            raise self.error(path, "not a table of snrkit")
        self.require_version(path, version)
        missing = self.missing(table.column_names, 1)
        if missing:
            raise self.error(path, f"columns missing: {', '.join(missing)}")
        columns = self.own(table.column_names)
        problem = check.problem(table, columns)
        if problem:
            raise self.error(path, problem)
        # Without the metadata, in which other programs may say anything of the columns.
        try:
            frame: pd.DataFrame = table.select(list(columns)).replace_schema_metadata(None).to_pandas()
        except Exception as error:
            raise self.error(path, f"holds what no table can ({error.__class__.__name__})") from None
        filled = self.fill(check.typed(frame, columns))
        frame = filled[list(self.own(list(filled.columns)))]
        problem = self.whole(frame) if self.whole is not None else ""
        if problem:
            raise self.error(path, problem)
        return frame

    def write(self, path: Path, table: "pd.DataFrame") -> None:
        """See ``TableKind.write``."""
        self._save(path, self._prepared(table))

    def is_foreign(self, path: Path) -> bool:
        """Whether a file is a sound Parquet file of another program."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            schema = pq.read_schema(path)
        except (OSError, ValueError, pa.ArrowException):
            return False  # Damaged, or under a name that pyarrow cannot open: reading it says so.
        return _MARK not in (schema.metadata or {}) and not self._is_of_pandas(schema)

    def _load(self, path: Path) -> "pa.Table":
        """A Parquet file whose checksum, if it has one, is right.

        Raises:
            ResultsError: missing, damaged, or with a column twice.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        from snrkit.runs.kinds import check

        try:
            content = read_bytes(path)
            sealed = checksums.verify(content)
            table = pq.ParquetFile(pa.BufferReader(content)).read()
        except checksums.ChecksumError:
            raise damaged(path, self.remedy) from None
        except Exception as error:  # whatever Arrow makes of arbitrary bytes
            raise self.error(path, f"not a readable Parquet file ({error.__class__.__name__})") from None
        if not sealed:
            checksums.note_unsealed(path)
        problem = check.problem(table, {})
        if problem:
            raise self.error(path, problem)
        return table

    def _version(self, schema: "pa.Schema") -> int:
        """Of the schema of a file; 0 if it is none of ours."""
        version = (schema.metadata or {}).get(_MARK, b"")
        # A table that pandas wrote has the columns without the version.
        if not version and (not self.marked or self._is_of_pandas(schema)):
            return 1
        return int(version) if version.isdigit() and len(version) <= _VERSION_DIGITS else 0

    def _is_of_pandas(self, schema: "pa.Schema") -> bool:
        """Whether pandas wrote a table with all columns of the kind, and no others but an index beside them."""
        if b"pandas" not in (schema.metadata or {}):
            return False
        present = [name for name in schema.names if not name.startswith("__index_level_") and name != "index"]
        return not self.missing(present, 1) and set(present) == set(self.own(present))

    def _kept(self, path: Path) -> "pd.DataFrame":
        return self.read(path)

    def _prepared(self, table: "pd.DataFrame") -> "pd.DataFrame":
        return self.complete(table)

    def _save(self, path: Path, rows: "pd.DataFrame") -> None:
        import pyarrow as pa

        types = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64(), "truth value": pa.bool_()}
        columns = self.own(list(rows.columns)).items()
        fields = [pa.field(name, types.get(c.content) or pa.array(rows[name]).type) for name, c in columns]
        table = pa.Table.from_pandas(rows, schema=pa.schema(fields), preserve_index=False)
        write_bytes(path, sealed(self.signed(table)))

    def signed(self, table: "pa.Table") -> "pa.Table":
        """A table that says of which schema it is; columns that are none of the kind's are left aside by ``read``."""
        return table.replace_schema_metadata({**(table.schema.metadata or {}), _MARK: str(self.version)})


def sealed(table: "pa.Table") -> bytes:
    """A table as a Parquet file that bears a checksum."""
    import pyarrow.parquet as pq

    # By way of memory, where a full disk is no error of Arrow's.
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return checksums.seal_parquet(buffer.getvalue())
