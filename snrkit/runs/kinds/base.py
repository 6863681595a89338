"""What a kind of result is: its files, its columns, its key and what to do about a damaged one.

The names of files decide of which kind they are, so this loads nothing but the standard library until one is read.
"""

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from snrkit.errors import ResultsError
from snrkit.locks import merging

if TYPE_CHECKING:
    import pandas as pd

Content = Literal["text", "whole number", "number", "truth value", "list of numbers"]


@dataclass(frozen=True)
class Column:
    """A column of a result.

    Attributes:
        content: of every row.
        meaning: of its values, in a phrase.
        least: a number's least value; NaN passes, infinity too.
        blank: whether text may be empty, and anything else missing.
        since: the schema that has it first; of older files it is filled in, see ``Kind.later``.
        optional: whether a file may do without it.
    """

    content: Content
    meaning: str
    least: float = -math.inf
    blank: bool = False
    since: int = 1
    optional: bool = False


def name(meaning: str) -> Column:
    """Text that is never empty."""
    return Column("text", meaning)


def text(meaning: str) -> Column:
    """Text, which may be empty."""
    return Column("text", meaning, blank=True)


def number(meaning: str, least: float = -math.inf) -> Column:
    """A number, or none."""
    return Column("number", meaning, least=least, blank=True)


def count(meaning: str, least: int = 0) -> Column:
    """A whole number, at least 0."""
    return Column("whole number", meaning, least=least)


def flag(meaning: str) -> Column:
    """True or False."""
    return Column("truth value", meaning)


def numbers(meaning: str) -> Column:
    """A list of numbers."""
    return Column("list of numbers", meaning)


def optional(column: Column) -> Column:
    """A column that a file may do without."""
    return dataclasses.replace(column, optional=True)


def since(version: int, column: Column) -> Column:
    """A column that files of an earlier schema lack."""
    return dataclasses.replace(column, since=version)


Columns = Mapping[str, Column]
RUN: Columns = {
    "run": name("name of the run directory, or 'python' for a model measured from Python"),
    "step": count("optimiser steps done when the parameters were saved"),
    "data": name("which data points, e.g. 'digits:test[0:8] dynamic seed 0'"),
}
SETTING: Columns = {
    "estimator": name("registered name"),
    "options": text("the estimator's own hyperparameters, e.g. 'beta=0.5'; empty if none"),
    "M": count("outer samples per data point", 1),
    "K": count("importance samples per outer sample", 1),
}
INTERVAL: Columns = {
    "stderr": number("its standard error", 0.0),
    "ci_low": number("lower end of the 95 % interval"),
    "ci_high": number("upper end of the 95 % interval"),
}
BLOCK: Columns = {"block": name("'inference', 'generative', 'all' or the name of a parameter tensor")}
NOISE: Columns = {
    "seed": count("root seed of the draws"),
    "method": name("how the draws were made, in words that follow from the columns for it"),
}
HOW: Columns = {
    "direct": since(
        2, flag("whether draws were made at the requested (M, K) itself, and not of units with M by algebra")
    ),
    "nested": since(2, flag("whether groups of the largest K's samples served smaller K")),
    "mean_from": since(2, text("estimator that lent its mean gradient; empty: none")),
    "separate": since(2, flag("whether the inference network saw samples of its own")),
    "mode": since(
        2, name("mode of the model's modules: 'evaluation', or 'training' (dropout, batch normalisation as in a step)")
    ),
}


@dataclass(frozen=True)
class Kind(ABC):
    """A kind of result file.

    Attributes:
        name: in the registry, and of its frame in a report.
        pattern: of the file's name.
        columns: name to column, in their order in the file.
        remedy: what to do about a file that cannot be read.
        key: columns that tell rows apart; empty: the rows of a file belong together.
        of_run: files of the run directory that count with it.
        version: of the schema that is written.
        later: from a table of an earlier schema to the columns that it lacks.
        whole: what is wrong with a table as a whole, if anything.
        apart: what to do about that; empty: the remedy.
        dimensions: name and column of a family of columns of which a file has as many as it needs: ``z`` of z1, z2, ...
    """

    name: str
    pattern: str
    columns: Columns
    remedy: str
    key: tuple[str, ...] = ()
    of_run: tuple[str, ...] = ()
    version: int = 1
    later: "Callable[[pd.DataFrame], Mapping[str, Any]] | None" = None
    whole: "Callable[[pd.DataFrame], str] | None" = None
    apart: str = ""
    dimensions: tuple[str, Column] | None = None

    @abstractmethod
    def read(self, path: Path) -> "pd.DataFrame":
        """The rows of a file, each column as it is described; those that an earlier schema lacks are filled in.

        Raises:
            ResultsError: missing, damaged, of a newer schema, or with other content.
        """

    def beside(self, path: Path) -> Path:
        """Where a file of this kind goes beside a result: under its name, with this kind's ending."""
        return path.with_suffix(self.pattern.removeprefix("*"))

    def own(self, present: "list[str]") -> Columns:
        """The columns that a file with these names has of this kind, in order."""
        return {name: column for name, column in self.columns.items() if name in present} | self.numbered(present)

    def numbered(self, present: "list[str]") -> dict[str, Column]:
        """Those that are ``dimensions``."""
        if self.dimensions is None:
            return {}
        family, column = self.dimensions
        return {name: column for name in present if name.startswith(family) and name[len(family) :].isdecimal()}

    def missing(self, present: "list[str]", version: int | None = None) -> list[str]:
        """The columns that a file with these names lacks although its schema has them."""
        newest = self.version if version is None else version
        own = self.columns.items()
        return [name for name, c in own if name not in present and not c.optional and c.since <= newest]

    def fill(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """A table with the columns that came later than its schema."""
        lacking = self.missing(list(table.columns))
        if not lacking or self.later is None:
            return table
        found = self.later(table)
        return table.assign(**{name: found[name] for name in lacking})

    def error(self, path: Path, problem: str) -> ResultsError:
        """The error for a file of this kind."""
        return ResultsError(str(path), problem, self.remedy)

    def require_version(self, path: Path, version: int) -> None:
        """See to it that a schema is known.

        Raises:
            ResultsError: it is newer.
        """
        if version > self.version:
            raise ResultsError(str(path), f"schema {version} is newer than {self.version}", "update snrkit")


@dataclass(frozen=True)
class TableKind(Kind):
    """A kind whose file is one table, into which several processes may merge rows.

    Attributes:
        finished: column of a truth value; a row where it is True is not given up for one where it is False.
    """

    finished: str = ""

    @abstractmethod
    def write(self, path: Path, table: "pd.DataFrame") -> None:
        """Write a table, whole or not at all.

        Raises:
            OutputError: the file cannot be written.
            ResultsError: the columns are not those of the kind.
        """

    @abstractmethod
    def _kept(self, path: Path) -> "pd.DataFrame":
        """The rows of a file, so that none changes by being written again."""

    @abstractmethod
    def _prepared(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Rows as ``_kept`` gives them."""

    @abstractmethod
    def _save(self, path: Path, rows: "pd.DataFrame") -> None:
        """Write rows that are as ``_kept`` gives them."""

    def merge(self, path: Path, table: "pd.DataFrame") -> "pd.DataFrame":
        """Write a table over what a file holds: rows of the same key are replaced, the others stay; no rows change nothing.

        Several processes may do so at once: each finds what those before it wrote.

        Returns:
            All rows that the file now holds.

        Raises:
            OutputError: the file cannot be written.
            ResourceError: other processes were at it for too long.
            ResultsError: the present file is damaged or of a newer schema, or its rows and the new ones do not go together.
        """
        if table.empty:
            return table
        import pandas as pd

        rows = self._prepared(table)
        with merging(path):
            if path.exists():
                both = pd.concat([self._kept(path), rows], ignore_index=True)
                if self.finished:
                    both = both.sort_values(self.finished, kind="stable")
                rows = both.drop_duplicates(subset=list(self.key), keep="last").sort_index(ignore_index=True)
            problem = self.whole(rows) if self.whole is not None else ""
            if problem:
                raise ResultsError(str(path), problem, self.apart or self.remedy)
            self._save(path, rows)
        return rows

    def complete(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """A table with exactly the columns of the kind, in order.

        Raises:
            ResultsError: one is missing, or is none of the kind's.
        """
        present = list(map(str, table.columns))
        odd = sorted({*self.missing(present, 1), *(name for name in present if name not in self.own(present))})
        if odd:
            raise ResultsError(
                self.name, f"columns differ from the schema in {odd}", "use the columns of snrkit.runs.kinds"
            )
        filled = self.fill(table)
        return filled[list(self.own(list(filled.columns)))]
