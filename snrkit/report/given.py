"""A report of tables that are at hand, from Python."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from snrkit.errors import SpecError
from snrkit.report.make import Made, make
from snrkit.runs.kinds.comparisons import COMPARISONS
from snrkit.runs.kinds.outside import completed
from snrkit.runs.kinds.slopes import SLOPES
from snrkit.runs.kinds.snr import SNR

_REMEDY = "give tables of snrkit.measure, or paths"
Given = pd.DataFrame | str | Path


def report(
    tables: Given | Iterable[Given] | Mapping[str, pd.DataFrame],
    out: str | Path,
    *,
    column: str = "icml",
    figures: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    page: bool = True,
) -> Made:
    """Figures, tables and a page from tables, files and run directories, as ``snrkit report`` makes them.

    Args:
        tables: what ``measure``, ``diagnose`` and ``measure_loss`` return; any table of pandas with columns ``metric`` and
            ``value``, the more of the others the better; paths; one or several, or name to table.
        out: folder to write to; the tables that are at hand are kept there, under ``tables/``.
        column: width, fonts and lines to match: ``icml``, ``neurips``, ``a4``, ``slide``, or a width such as ``3.3in``,
            ``84mm`` or ``240pt``.
        figures: only these; none: all that have data.
        labels: run to what it is called in figures and tables; a run by its name, a pattern of names, or its folder.
        metrics: only these, in figures and tables; none: all.
        baseline: compare all else with this estimator, setting or run, in two tables (see ``snrkit.compare``).
        page: also write one self-contained page, ``report.html``.

    Returns:
        ``files``, all that was written; ``notes``, what is missing of tables and figures; ``drawn``.

    Raises:
        SpecError: nothing is given, or there is no such figure, column, run, metric or baseline.
        ResultsError: a table has no readings, or there is nothing to show.
        OutputError: a file cannot be written.
    """
    folder, notes, paths = Path(out) / "tables", list[str](), list[Path]()
    named = _named(tables)
    called = isinstance(tables, Mapping) or _are_several([given for _, given in named])
    for name, given in named:
        if isinstance(given, pd.DataFrame):
            path, said = _kept(_called(given, name) if called else given, name, folder)
            notes += said
            paths.append(path)
        else:
            paths.append(Path(given))
    made = make(
        paths, Path(out), column=column, figures=figures, labels=labels, metrics=metrics, baseline=baseline, page=page
    )  # fmt: skip
    return Made(made.files, [*notes, *made.notes], made.drawn)


def _named(tables: Given | Iterable[Given] | Mapping[str, pd.DataFrame]) -> list[tuple[str, Given]]:
    if isinstance(tables, Mapping):
        found: list[tuple[str, Given]] = [(str(name), table) for name, table in tables.items()]
    else:
        single = isinstance(tables, pd.DataFrame | str | Path)
        if not single and not isinstance(tables, Iterable):
            raise SpecError("tables", f"is a {type(tables).__name__}", _REMEDY)
        items: list[Given] = [tables] if single else list(tables)  # type: ignore[list-item, arg-type]
        found = [(f"table-{number}", item) for number, item in enumerate(items, start=1)]
    if not found:
        raise SpecError("tables", "is empty", _REMEDY)
    odd = [item for _, item in found if not isinstance(item, pd.DataFrame | str | Path)]
    if odd:
        raise SpecError("tables", f"holds a {type(odd[0]).__name__}", _REMEDY)
    stems = [_stem(name) for name, _ in found]
    twice = [name for name, _ in found if stems.count(_stem(name)) > 1]
    if twice:
        problem = f"has '{twice[0]}' and '{twice[1]}', which would be one file"
        raise SpecError("tables", problem, "give them names that differ in letters or digits")
    return found


def _called(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows of a model that nobody named under the name of their table."""
    return table.assign(run=name) if _is_unnamed(table) else table


def _is_unnamed(table: pd.DataFrame) -> bool:
    return "run" not in table or bool(table["run"].isin(["python"]).all())


def _are_several(given: Sequence[Given]) -> bool:
    """Whether tables of models that nobody named are of different ones, which their names are to tell apart."""
    unnamed = [table for table in given if isinstance(table, pd.DataFrame) and _is_unnamed(table)]
    return len({frozenset(table["parameters"].astype(str)) for table in unnamed if "parameters" in table}) > 1


def _stem(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name) or "table"


def _kept(table: pd.DataFrame, name: str, folder: Path) -> tuple[Path, list[str]]:
    """A table as a file of the kind that its columns tell, and what is missing of it."""
    stem = _stem(name)
    for kind in (SLOPES, COMPARISONS):
        if not kind.missing([str(column) for column in table.columns], 1) and "metric" not in table:
            path = folder / kind.pattern.replace("*", stem)
            kind.write(path, kind.complete(table))
            return path, []
    rows, notes = completed(table, name)
    path = folder / f"{stem}.parquet"
    SNR.write(path, rows)
    return path, notes
