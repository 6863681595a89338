"""The tidy table of measurements, and other tables of results. Imports no torch.

One measurement is one Parquet file with one row per (run, step, data, scope, estimator, options, M, K, block, metric).
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from snrkit import checksums
from snrkit.errors import ResultsError
from snrkit.files import damaged, read_bytes, write_bytes, write_text
from snrkit.locks import merging
from snrkit.runs import schemas

SCHEMA_VERSION = 1
_VERSION_DIGITS = 9

# Column -> (Arrow type, meaning).
COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "run": (pa.string(), "name of the run directory, or 'python' for a model measured from Python"),
    "step": (pa.int64(), "optimiser steps done when the parameters were saved"),
    "data": (pa.string(), "which data points, e.g. 'digits:test[0:8] seed 0'"),
    "scope": (
        pa.string(),
        "'minibatch': of the mean over the points; 'points', 'dataset': variance parts, errors over draws, points",
    ),
    "estimator": (pa.string(), "registered name"),
    "options": (pa.string(), "the estimator's own hyperparameters, e.g. 'beta=0.5'; empty if none"),
    "M": (pa.int64(), "outer samples per data point"),
    "K": (pa.int64(), "importance samples per outer sample"),
    "block": (pa.string(), "'inference', 'generative', 'all' or the name of a parameter tensor"),
    "metric": (pa.string(), "what was measured"),
    "value": (pa.float64(), "the reading"),
    "stderr": (pa.float64(), "its standard error"),
    "ci_low": (pa.float64(), "lower end of the 95 % interval"),
    "ci_high": (pa.float64(), "upper end of the 95 % interval"),
    "floor": (pa.float64(), "what pure noise would read (snr_pooled: its 95 % point); NaN where it has no meaning"),
    "draws": (pa.int64(), "gradient draws R behind the row"),
    "n_coordinates": (pa.int64(), "coordinates that entered the reading"),
    "n_dropped": (pa.int64(), "coordinates left out because they are zero, or constant, but for rounding"),
    "definition": (pa.string(), "the definition of the metric, in a phrase"),
    "seed": (pa.int64(), "root seed of the draws"),
    "method": (
        pa.string(),
        "'units' (M by algebra) or 'direct', with 'nested', 'mean from ESTIMATOR' and 'training mode' where so drawn",
    ),
    "mode": (
        pa.string(),
        "mode of the model's modules: 'evaluation', or 'training' (dropout, batch normalisation as in a step)",
    ),
    "engine": (pa.string(), "what computed the draws"),
    "device": (pa.string(), "where"),
    "dtype": (
        pa.string(),
        "floating-point type of the draws, and of autocast or parts of the model (moments are always float64)",
    ),
    "complete": (
        pa.bool_(),
        "False where a measurement was interrupted and the row rests on the draws finished by then",
    ),
    "seconds": (pa.float64(), "wall time of the draws behind the row"),
    "parameters": (
        pa.string(),
        "SHA-256 of the parameters measured on, shortened; empty in tables from before this column",
    ),
}


# Columns that older tables lack, and what they stand for there.
LATER = {"parameters": "", "mode": "evaluation"}


def arrow_schema() -> pa.Schema:
    """The Arrow schema of a measurement table, with the version in its metadata."""
    fields = [pa.field(name, kind) for name, (kind, _) in COLUMNS.items()]
    return pa.schema(fields, metadata={"snrkit_schema": str(SCHEMA_VERSION)})


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a tidy table as Parquet, whole or not at all. Columns that older tables lack are filled in.

    Raises:
        OutputError: the file cannot be written.
        ResultsError: the columns are not exactly those of ``COLUMNS``.
    """
    table = table.assign(**{name: value for name, value in LATER.items() if name not in table})
    if set(table.columns) != set(COLUMNS):
        odd = sorted(set(table.columns) ^ set(COLUMNS))
        raise ResultsError("table", f"columns differ from the schema in {odd}", "use the columns of snrkit.runs.tables")
    arrow = pa.Table.from_pandas(table[list(COLUMNS)], schema=arrow_schema(), preserve_index=False)
    arrow = arrow.replace_schema_metadata(arrow_schema().metadata)
    _write_arrow(path, arrow)


def _write_arrow(path: Path, table: pa.Table) -> None:
    """A Parquet file that bears a checksum. By way of memory, where a full disk is no error of Arrow's."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_bytes(path, checksums.seal_parquet(buffer.getvalue()))


def _read_arrow(path: Path, rules: schemas.Rules, remedy: str) -> pa.Table:
    """A Parquet file whose checksum, if it has one, is right, and whose columns hold what they should.

    Raises:
        ResultsError: missing, damaged, or with other content.
    """
    try:
        content = read_bytes(path)
        sealed = checksums.verify(content)
        table = pq.ParquetFile(pa.BufferReader(content)).read()
    except checksums.ChecksumError:
        raise damaged(path, remedy) from None
    except Exception as error:  # whatever Arrow makes of arbitrary bytes
        raise ResultsError(str(path), f"not a readable Parquet file ({error.__class__.__name__})", remedy) from None
    if not sealed:
        checksums.note_unsealed(path)
    schemas.require(table, rules, path, remedy)
    return table


def _to_pandas(table: pa.Table, path: Path, remedy: str) -> pd.DataFrame:
    # Without the metadata, in which other programs may say anything of the columns.
    try:
        frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    except Exception as error:
        raise ResultsError(str(path), f"holds what no table can ({error.__class__.__name__})", remedy) from None
    return frame


def read_table(path: Path) -> pd.DataFrame:
    """Read a tidy table.

    Raises:
        ResultsError: missing, not Parquet, written by a newer snrkit, or with columns missing.
    """
    remedy = "measure again with 'snrkit snr'"
    arrow = _read_arrow(path, {}, remedy)
    version = (arrow.schema.metadata or {}).get(b"snrkit_schema", b"")
    # A table that pandas wrote has the columns without the version.
    if not version and is_of_pandas(arrow.schema):
        version = str(SCHEMA_VERSION).encode()
    if not version.isdigit() or len(version) > _VERSION_DIGITS or int(version) < 1:
        raise ResultsError(str(path), "not a table of snrkit", remedy)
    if int(version) > SCHEMA_VERSION:
        raise ResultsError(str(path), f"schema {int(version)} is newer than {SCHEMA_VERSION}", "update snrkit")
    for name, value in LATER.items():
        if name not in arrow.column_names:
            arrow = arrow.append_column(name, pa.array([value] * len(arrow), pa.string()))
    missing = [name for name in COLUMNS if name not in arrow.column_names]
    if missing:
        raise ResultsError(str(path), f"columns missing: {', '.join(missing)}", remedy)
    schemas.require(arrow, schemas.SNR, path, remedy)
    return _to_pandas(arrow.select(list(COLUMNS)), path, remedy)


def is_of_pandas(schema: pa.Schema) -> bool:
    """Whether pandas wrote a table with all columns of a measurement, and no others but an index beside them."""
    if b"pandas" not in (schema.metadata or {}):
        return False
    own = {name for name in schema.names if not name.startswith("__index_level_") and name != "index"}
    return set(COLUMNS) - set(LATER) <= own <= set(COLUMNS)


def require_same_parameters(path: Path, run: str, step: int, parameters: str) -> None:
    """Find out before the draws whether a table holds rows of another run of the same name, which must not be replaced.

    Args:
        path: the table; there may be none yet.
        run: name of the run that is to be measured.
        step: optimiser steps that it has done.
        parameters: digest of its parameters, as in the table.

    Raises:
        ResultsError: it does, or it is damaged or of a newer schema.
    """
    if not path.exists():
        return
    table = read_table(path)
    known = table[(table["run"] == run) & (table["step"] == step)]["parameters"]
    if not known.isin(["", parameters]).all():
        problem = f"holds rows of a run '{run}' that were measured on other parameters at step {step}"
        raise ResultsError(str(path), problem, "give another `out`, or delete the file if that run is gone")


KEY = ["run", "step", "data", "scope", "estimator", "options", "M", "K", "block", "metric", "seed", "method"]


def merge_table(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Write a table over what ``path`` holds: rows measured again are replaced, the others stay.

    Several processes may do so at once: each finds what those before it wrote.

    Returns:
        All rows that the file now holds.

    Raises:
        OutputError: the file cannot be written.
        ResourceError: other processes were at it for too long.
        ResultsError: the present file is damaged or of a newer schema.
    """
    with merging(path):
        if path.exists():
            both = pd.concat([read_table(path), table], ignore_index=True)
            # A finished row is not given up for one of an interrupted measurement.
            both = both.sort_values("complete", kind="stable")
            table = both.drop_duplicates(subset=KEY, keep="last").sort_index(ignore_index=True)
        write_table(path, table)
    return table


SLOPE_KEY = ["run", "step", "data", "estimator", "options", "block", "axis", "fixed", "seed", "method"]
COMPARISON_KEY = ["run", "step", "data", "M", "K", "block", "first", "second", "seed", "method"]


# Text as it stands: a run may be called "NA" or "007".
_TEXTS = (
    "run", "data", "method", "estimator", "options", "block", "axis", "over", "verdict", "reason", "first", "second",
    "metric", "reference",
)  # fmt: skip

# What may stand for a missing number.
_MISSING = ["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None"]


def merge_csv(path: Path, table: pd.DataFrame, key: list[str]) -> None:
    """Write a small table over what a CSV file holds: rows of the same key are replaced, the others stay.

    Raises:
        OutputError: the file cannot be written.
        ResourceError: other processes were at it for too long.
        ResultsError: the present file is damaged.
    """
    if table.empty:
        return
    text = table.to_csv(index=False)
    with merging(path):
        if path.exists():
            rules = schemas.SLOPES if key == SLOPE_KEY else schemas.COMPARISONS
            missing = [name for name in key if name not in read_csv(path, rules)]
            if missing:
                raise ResultsError(str(path), f"columns missing: {', '.join(missing)}", "delete it")
            # As text, so that no digit of a row that stays is lost.
            both = [pd.read_csv(io.StringIO(each), dtype="str", keep_default_na=False) for each in (_text(path), text)]
            rows = pd.concat(both, ignore_index=True).drop(columns=checksums.KEY, errors="ignore").fillna("")
            text = rows.drop_duplicates(subset=key, keep="last").to_csv(index=False)
        write_text(path, _with_checksums(text))


def _with_checksums(text: str) -> str:
    """CSV text with a checksum of every row as its last column."""
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow([*header, checksums.KEY])
    writer.writerows([*row, checksums.of_row(header, row)] for row in rows)
    return lines.getvalue()


def _verify_rows(text: str) -> None:
    """See to it that each row has its checksum, where there are any.

    Raises:
        checksums.ChecksumError: one is wrong.
    """
    header, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    if header[-1:] != [checksums.KEY]:
        return
    if any(row[-1:] != [checksums.of_row(header[:-1], row[:-1])] for row in rows if row):
        raise checksums.ChecksumError


def read_csv(path: Path, rules: schemas.Rules | None = None) -> pd.DataFrame:
    """Read a small table, text staying as it is.

    Args:
        path: the file.
        rules: what its columns may hold, see ``schemas``.

    Raises:
        ResultsError: missing, damaged, or with other content.
    """
    try:
        text = _text(path)
        header = next(csv.reader(io.StringIO(text, newline="")), [])
        texts = {name: "str" for name in header if name in _TEXTS}
        missing = {name: _MISSING for name in header if name not in _TEXTS}
        table = pd.read_csv(io.StringIO(text), dtype=texts, na_values=missing, keep_default_na=False)
    except checksums.ChecksumError:
        raise damaged(path, f"delete it, or its column '{checksums.KEY}' if you changed it yourself") from None
    except (OSError, ValueError, csv.Error, OverflowError) as error:
        raise ResultsError(str(path), f"not a readable CSV file ({error.__class__.__name__})", "delete it") from None
    schemas.require_frame(table, rules or {}, path, "delete it")
    return table.drop(columns=checksums.KEY, errors="ignore")


def _text(path: Path) -> str:
    """The text of a CSV file, its rows seen to be what was written."""
    text = read_bytes(path).decode("utf-8")
    _verify_rows(text)
    return text


KEPT_KEY = ["run", "step", "data", "estimator", "options", "M", "K", "coordinate", "draw", "seed", "method"]


def merge_kept(path: Path, table: pd.DataFrame) -> None:
    """Write kept draws over what a Parquet file holds: draws made again are replaced, the others stay.

    Raises:
        OutputError: the file cannot be written.
        ResourceError: other processes were at it for too long.
        ResultsError: the present file is damaged.
    """
    with merging(path):
        if path.exists():
            old = read_frame(path, KEPT_KEY, "delete it", schemas.DRAWS)
            table = pd.concat([old, table], ignore_index=True).drop_duplicates(subset=KEPT_KEY, keep="last")
        write_frame(path, table)


def write_frame(path: Path, table: pd.DataFrame) -> None:
    """Write any table as Parquet, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    _write_arrow(path, pa.Table.from_pandas(table, preserve_index=False))


def read_frame(path: Path, columns: Sequence[str], remedy: str, rules: schemas.Rules | None = None) -> pd.DataFrame:
    """Read a table that ``write_frame`` wrote.

    Args:
        path: the file.
        columns: what it must have.
        remedy: how to make the file again, for the error message.
        rules: what its columns may hold, see ``schemas``.

    Raises:
        ResultsError: missing, not Parquet, a column missing, or with other content.
    """
    arrow = _read_arrow(path, rules or {}, remedy)
    missing = [name for name in columns if name not in arrow.column_names]
    if missing:
        raise ResultsError(str(path), f"columns missing: {', '.join(missing)}", remedy)
    return _to_pandas(arrow, path, remedy)
