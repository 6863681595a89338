"""The tidy table of measurements, the run directory and atomic writes. Imports no torch.

One measurement is one Parquet file with one row per (run, step, data, scope, estimator, options, M, K, block, metric).
"""

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from snrkit.errors import OutputError, ResultsError

SCHEMA_VERSION = 1

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
        "'units' (M by algebra) or 'direct', with 'nested' and 'mean from ESTIMATOR' where so drawn",
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


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` when the block ends well, and vanishes when it does not.

    Raises:
        OutputError: the directory cannot be written, or the device is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".tmp{path.suffix}", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes the file private; a result should be as readable as any other new file.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise output_error(path, error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def discard_partial(path: Path) -> None:
    """Delete what killed writes of ``path`` left beside it. Nobody may be writing it.

    Raises:
        OutputError: the directory cannot be written.
    """
    for leftover in path.parent.glob(f".{path.name}.*.tmp*"):
        guard(leftover, leftover.unlink)


def output_error(path: Path, error: OSError) -> OutputError:
    """An ``OSError`` met while writing ``path``, in the user's words."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "free some space or give another --out" if full else "give an --out that you may write to"
    return OutputError(str(path), f"cannot be written ({os.strerror(error.errno or errno.EIO).lower()})", remedy)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or nothing.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def require_writable(path: Path) -> None:
    """Find out before a long computation whether its result can be written to ``path``. Makes the directory.

    Raises:
        OutputError: the directory cannot be made or written, or ``path`` is a directory.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "")
    except OSError as error:
        raise output_error(path, error) from None


def write_text(path: Path, text: str) -> None:
    """Write a whole UTF-8 text file or nothing.

    Raises:
        OutputError: the file cannot be written.
    """
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ResultsError: missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(str(path), f"cannot be read ({error.__class__.__name__})", "make it again") from None


def arrow_schema() -> pa.Schema:
    """The Arrow schema of a measurement table, with the version in its metadata."""
    fields = [pa.field(name, kind) for name, (kind, _) in COLUMNS.items()]
    return pa.schema(fields, metadata={"snrkit_schema": str(SCHEMA_VERSION)})


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a tidy table as Parquet, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
        ResultsError: the columns are not exactly those of ``COLUMNS``.
    """
    if set(table.columns) != set(COLUMNS):
        odd = sorted(set(table.columns) ^ set(COLUMNS))
        raise ResultsError("table", f"columns differ from the schema in {odd}", "use the columns of snrkit.results")
    arrow = pa.Table.from_pandas(table[list(COLUMNS)], schema=arrow_schema(), preserve_index=False)
    arrow = arrow.replace_schema_metadata(arrow_schema().metadata)
    with atomic_path(path) as temporary:
        pq.write_table(arrow, temporary)


def read_table(path: Path) -> pd.DataFrame:
    """Read a tidy table.

    Raises:
        ResultsError: missing, not Parquet, written by a newer snrkit, or with columns missing.
    """
    remedy = "measure again with 'snrkit snr'"
    try:
        arrow = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise ResultsError(str(path), f"not a readable Parquet file ({error.__class__.__name__})", remedy) from None
    version = (arrow.schema.metadata or {}).get(b"snrkit_schema", b"")
    if not version.isdigit():
        raise ResultsError(str(path), "not a table of snrkit", remedy)
    if int(version) > SCHEMA_VERSION:
        raise ResultsError(str(path), f"schema {int(version)} is newer than {SCHEMA_VERSION}", "update snrkit")
    if "parameters" not in arrow.column_names:
        arrow = arrow.append_column("parameters", pa.array([""] * len(arrow)))
    missing = [name for name in COLUMNS if name not in arrow.column_names]
    if missing:
        raise ResultsError(str(path), f"columns missing: {', '.join(missing)}", remedy)
    table: pd.DataFrame = arrow.select(list(COLUMNS)).to_pandas()
    return table


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
        raise ResultsError(str(path), problem, "give another --out, or delete the file if that run is gone")


KEY = ["run", "step", "data", "scope", "estimator", "options", "M", "K", "block", "metric", "seed", "method"]


def merge_table(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Write a table over what ``path`` holds: rows measured again are replaced, the others stay.

    Returns:
        All rows that the file now holds.

    Raises:
        OutputError: the file cannot be written.
        ResultsError: the present file is damaged or of a newer schema.
    """
    if path.exists():
        both = pd.concat([read_table(path), table], ignore_index=True)
        # A finished row is not given up for one of an interrupted measurement.
        both = both.sort_values("complete", kind="stable")
        table = both.drop_duplicates(subset=KEY, keep="last").sort_index(ignore_index=True)
    write_table(path, table)
    return table


SLOPE_KEY = ["run", "step", "data", "estimator", "options", "block", "axis", "fixed", "seed", "method"]
COMPARISON_KEY = ["run", "step", "data", "M", "K", "block", "first", "second", "seed", "method"]


def merge_csv(path: Path, table: pd.DataFrame, key: list[str]) -> None:
    """Write a small table over what a CSV file holds: rows of the same key are replaced, the others stay.

    Raises:
        OutputError: the file cannot be written.
        ResultsError: the present file is damaged.
    """
    if table.empty:
        return
    if path.exists():
        table = pd.concat([read_csv(path), table], ignore_index=True).drop_duplicates(subset=key, keep="last")
    write_text(path, table.to_csv(index=False))


def read_csv(path: Path) -> pd.DataFrame:
    """Read a small table, empty text staying empty text.

    Raises:
        ResultsError: missing or damaged.
    """
    try:
        # Without a type a column of empty texts would be read as numbers.
        table = pd.read_csv(path, dtype={"options": "str"})
    except (OSError, ValueError) as error:
        raise ResultsError(str(path), f"not a readable CSV file ({error.__class__.__name__})", "delete it") from None
    if "options" in table:
        table["options"] = table["options"].fillna("")
    return table


KEPT_KEY = ["run", "step", "data", "estimator", "options", "M", "K", "coordinate", "draw", "seed", "method"]


def merge_kept(path: Path, table: pd.DataFrame) -> None:
    """Write kept draws over what a Parquet file holds: draws made again are replaced, the others stay.

    Raises:
        OutputError: the file cannot be written.
        ResultsError: the present file is damaged.
    """
    if path.exists():
        try:
            old = pd.read_parquet(path)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ResultsError(str(path), f"not readable ({error.__class__.__name__})", "delete it") from None
        table = pd.concat([old, table], ignore_index=True).drop_duplicates(subset=KEPT_KEY, keep="last")
    write_frame(path, table)


def write_frame(path: Path, table: pd.DataFrame) -> None:
    """Write any table as Parquet, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_frame(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a table that ``write_frame`` wrote.

    Args:
        path: the file.
        columns: what it must have.
        remedy: how to make the file again, for the error message.

    Raises:
        ResultsError: missing, not Parquet, or a column missing.
    """
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ResultsError(str(path), f"not a readable Parquet file ({error.__class__.__name__})", remedy) from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise ResultsError(str(path), f"columns missing: {', '.join(missing)}", remedy)
    return table


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
        if not self.metrics.exists():
            return []
        text = self.metrics.read_text(encoding="utf-8", errors="replace")
        return [self._metrics_row(line, number) for number, line in enumerate(text.split("\n")[:-1], start=1)]

    def _metrics_row(self, line: str, number: int) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("epoch"), int):
            problem = f"line {number} is not a JSON object with an epoch"
            raise ResultsError(str(self.metrics), problem, "delete that line")
        return row

    def write_metrics(self, rows: list[Mapping[str, Any]]) -> None:
        """Replace ``metrics.jsonl`` by these rows.

        Raises:
            OutputError: the file cannot be written.
        """
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``.

        Raises:
            OutputError: the file cannot be written.
        """
        guard(self.metrics, lambda: _append(self.metrics, json.dumps(row) + "\n"))

    def state(self) -> str:
        """How the run stands, as recorded; empty if that is missing or cannot be read."""
        try:
            return str(read_json(self.status)["state"])
        except (ResultsError, KeyError, TypeError):
            return ""

    def set_status(self, state: str, why: str = "") -> None:
        """Record how the run stands: running, done, interrupted or failed.

        Raises:
            OutputError: the file cannot be written.
        """
        write_json(self.status, {"state": state, "why": why})


def guard(path: Path, write: Callable[[], object]) -> None:
    """Run a write to ``path`` and put what goes wrong in the user's words.

    Raises:
        OutputError: the write failed.
    """
    try:
        write()
    except OSError as error:
        raise output_error(path, error) from None


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(line)
