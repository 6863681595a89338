"""One tidy table of the results of many runs, with the settings of each as columns."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from snrkit.errors import ResultsError, SpecError
from snrkit.files import write_text
from snrkit.report.collect import Tables, places_of, steps
from snrkit.report.collect import collect as found_at
from snrkit.report.escape import visible
from snrkit.report.find import run_folder
from snrkit.report.trained import spec_of
from snrkit.runs.folder import RunDir
from snrkit.runs.index import run_folders
from snrkit.runs.kinds import KINDS, wide
from snrkit.runs.kinds.snr import SNR
from snrkit.runs.settings import differing, settings
from snrkit.runs.tidy import TidyTable
from snrkit.types import Progress

# Runs that a remark names.
_NAMED = 8
_ENDINGS = (".parquet", ".csv")


class _AsWritten(Tables):
    """Numbers as the files have them, infinite ones too."""

    _shaped = staticmethod(lambda table: table)


def collect(
    paths: str | Path | Iterable[str | Path],
    kind: str = "snr",
    *,
    all_settings: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """All results of a kind at some paths as one tidy table, with the settings of the runs as columns.

    A run that lies in several folders counts once. Settings have their dotted names (``estimator.K``); one that has the name
    of a column of results has ``run.`` before it (``run.seed`` beside the ``seed`` of the draws).

    Args:
        paths: run directories, folders that hold some at any depth, or result files; one or several.
        kind: of the results: ``snr``, ``metrics``, ``evaluations`` and so on (``python -m snrkit.runs.kinds``).
        all_settings: all settings, and not only those that differ between the runs.
        progress: called with (done, total, note) as files are read.

    Returns:
        The rows of all files: run, its directory, settings, and the columns of the kind. ``table.attrs["remarks"]`` says
        what was left out, and which runs have no such result.

    Raises:
        SpecError: there is no such kind, no path, or a run's ``config.toml`` is not valid.
        ResultsError: a path leads nowhere, there is no result of the kind, or a file is damaged.
    """
    KINDS.require(kind)
    places = places_of(paths)
    for place in places:
        _require_results(place)
    tables = found_at(places, as_tables=_AsWritten)
    if progress is not None:
        tables.told = steps(progress, len(tables.files(kind)))
    frame = tables[kind]
    if frame.empty:
        there = ", ".join(name for name in KINDS.names if len(tables.inputs([name])))
        where = ", ".join(visible(str(place)) for place in places)
        remedy = f"choose from those that there are: {there}" if there else "train, measure or evaluate its runs first"
        raise ResultsError(where, f"holds no results of kind {kind}" if there else "holds no results yet", remedy)
    folders = _folders(tables, kind, frame)
    table = _with_settings(frame, kind, folders, all_settings)
    table = TidyTable(table) if kind == SNR.name else table
    table.attrs["remarks"] = [*tables.notes, *_lacking(places, tables.holding(set(folders.values())), kind)]
    return table


def write(table: pd.DataFrame, path: Path, kind: str) -> None:
    """Write a table of ``collect``, whole or not at all; of gradient measurements one that ``snrkit report`` draws.

    Raises:
        SpecError: the file's name ends neither in ``.parquet`` nor in ``.csv``.
        OutputError: it cannot be written.
    """
    require_table(path)
    if path.suffix == ".csv":
        write_text(path, table.to_csv(index=False))
    else:
        folders = dict(zip(table["run"].astype(str), map(Path, table["folder"]), strict=True))
        specs = {run: spec for run, folder in folders.items() if (spec := spec_of(folder))}
        wide.write(path, table, SNR if kind == SNR.name else None, specs)


def require_table(path: Path) -> None:
    """See to it that a table can be written under a name.

    Raises:
        SpecError: it ends neither in ``.parquet`` nor in ``.csv``.
    """
    if path.suffix not in _ENDINGS:
        raise SpecError("out", f"'{path}' does not end in .parquet or .csv", "name a Parquet or a CSV file")


def _require_results(place: Path) -> None:
    """A table of ``collect`` is no result: read as one it would lose the settings of its runs.

    Raises:
        ResultsError: it is such a table.
    """
    if not place.is_file() or place.suffix not in _ENDINGS:
        return
    try:
        names = pq.read_schema(place).names if place.suffix == ".parquet" else list(pd.read_csv(place, nrows=0).columns)
    except (OSError, ValueError, pa.ArrowException):
        return  # reading it says what is wrong with it
    if names[:2] == ["run", "folder"]:
        remedy = "give the runs themselves; 'snrkit report' takes several tables, and pandas.concat joins them"
        raise ResultsError(visible(str(place)), "is a table that was collected before", remedy)


def _folders(tables: Tables, kind: str, frame: pd.DataFrame) -> dict[str, Path]:
    """Sources of rows to the run directories that they lie in."""
    files = {visible(str(path)): run_folder(path) for path in tables.inputs([kind])}
    return {source: files.get(source, run_folder(Path(source))) for source in dict.fromkeys(frame["source"])}


def _with_settings(frame: pd.DataFrame, kind: str, folders: Mapping[str, Path], all_settings: bool) -> pd.DataFrame:
    specs = {folder: spec_of(folder) for folder in dict.fromkeys(folders.values())}
    known = {folder: settings(spec) for folder, spec in specs.items() if spec}
    names = list(dict.fromkeys(name for one in known.values() for name in one))
    names = names if all_settings else differing(list(known.values()))
    rows = [folders[source] for source in frame["source"]]
    own = KINDS.load(kind).own([str(name) for name in frame.columns])
    given: dict[str, Any] = {"run": _names(frame, rows), "folder": [visible(str(folder)) for folder in rows]}
    # Of every kind, so that a setting is called the same in the tables of all.
    taken = {*given, *(column for one in KINDS.names for column in KINDS.load(one).columns)}
    for name in names:
        given[f"run.{name}" if name in taken else name] = _column([known.get(folder, {}).get(name) for folder in rows])
    rest = {name: frame[name] for name in own if name not in given}
    return pd.DataFrame({**given, **rest}, index=frame.index)


def _names(frame: pd.DataFrame, rows: Sequence[Path]) -> list[str]:
    """What runs are called; by their directories where two have one name."""
    names = [str(name) for name in frame["run"]] if "run" in frame else [visible(RunDir(row).name) for row in rows]
    homes: dict[str, set[Path]] = {}
    for name, row in zip(names, rows, strict=True):
        homes.setdefault(name, set()).add(row)
    return [name if len(homes[name]) == 1 else visible(str(row)) for name, row in zip(names, rows, strict=True)]


def _column(values: Sequence[Any]) -> "pd.Series[Any]":
    """A setting over all rows: numbers and truth values as such where all are, else text."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series([None if value is None else _text(value) for value in values], dtype="string")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lacking(places: Sequence[Path], there: set[Path], kind: str) -> list[str]:
    """Runs that have no result of the kind, in a sentence."""
    found = {folder.resolve() for folder in there}
    lacking = [folder for place in places if place.is_dir() for folder in run_folders(place)]
    names = [visible(str(folder)) for folder in lacking if folder.resolve() not in found]
    if not names:
        return []
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return [f"{len(names)} of {len(lacking)} runs have no results of kind {kind}: {', '.join(names[:_NAMED])}{more}"]
