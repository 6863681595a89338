"""Reconstructions of a run: their table, and their pictures, or sentences, side by side."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from snrkit.errors import PathError
from snrkit.files import require_writable, write_bytes, write_text
from snrkit.runs.kinds.parquet import ParquetKind
from snrkit.runs.kinds.reconstructions import RECONSTRUCTIONS
from snrkit.runs.place import Place, reserved, target

if TYPE_CHECKING:
    from snrkit.report.drawing import Drawing
    from snrkit.report.style import Look

ENDINGS = (".parquet", ".pdf", ".png")
# Of sentences.
WRITTEN = (".parquet", ".txt")
# Value and standard error over points, which is None for one point.
Means = dict[str, tuple[float, float | None]]


@dataclass(frozen=True)
class Shown(ABC):
    """Images or sentences that a model makes.

    Attributes:
        table: one row per image or sentence.
        place: where they go.
    """

    kind: ClassVar[ParquetKind]

    table: pd.DataFrame
    place: Place = field(repr=False)

    @property
    def is_text(self) -> bool:
        """Whether they are sentences."""
        return "text" in self.table

    @abstractmethod
    def lines(self) -> Iterator[str]:
        """Sentences, one a line, each with what it is; of images what there are, if anything."""

    @abstractmethod
    def _drawing(self, look: "Look") -> "Drawing":
        """The images side by side."""

    def save(self, path: Path | None = None) -> list[Path]:
        """Write the table, and beside it the pictures as PDF and PNG, or the sentences as text.

        Args:
            path: the table, a Parquet file; None: where it was announced that it goes.

        Returns:
            The files.

        Raises:
            OutputError: one cannot be written.
        """
        with target(self.place, path) as file:
            table, *beside = files = files_of(file, WRITTEN if self.is_text else ENDINGS)
            self.kind.write(table, self.table)
            if self.is_text:
                write_text(beside[0], "".join(f"{line}\n" for line in self.lines()))
            else:
                draw_pictures(beside, self._drawing)
        return files


class Reconstructions(Shown):
    """Test points beside their reconstructions: a table as ``evaluation.reconstruct`` gives, with run, step and the like."""

    kind = RECONSTRUCTIONS

    @property
    def means(self) -> dict[str, Means]:
        """``log_likelihood`` in nats, and ``ssim`` of images: mean over points of q, of q_IW and of their difference."""
        return {name: self._mean(name) for name in ("log_likelihood", "ssim") if name in self.table}

    def _mean(self, column: str) -> Means:
        drawn = self.table[self.table.kind != "input"]
        mean = drawn.groupby(["kind", "point"])[column].mean()
        kinds = {"q": mean["q"], "q_iw": mean["q_iw"], "q_iw - q": mean["q_iw"] - mean["q"]}
        kinds |= {"mean": mean["mean"]} if self.is_text else {}
        return {name: (float(v.mean()), float(v.sem()) if len(v) > 1 else None) for name, v in kinds.items()}

    def lines(self) -> Iterator[str]:
        """Sentences, one a line, each with its point and what it is; of images none."""
        if self.is_text:
            table = self.table.sort_values(["point", "kind", "sample"])
            rows = zip(table["point"], table["kind"], table["text"], strict=True)
            yield from (f"{point} {kind}: {text}" for point, kind, text in rows)

    def _drawing(self, look: "Look") -> "Drawing":
        from snrkit.report.figures.reconstructions import draw_tables

        return draw_tables([self.table], look)


def draw_pictures(files: Sequence[Path], draw: "Callable[[Look], Drawing]") -> None:
    """Draw a figure as wide as a page, and write it.

    Args:
        files: each with an ending of its format.
        draw: draws it in a look.

    Raises:
        OutputError: a file cannot be written.
    """
    from snrkit.report import style
    from snrkit.report.save import render

    look = style.COLUMNS["a4"]
    with style.context(look):
        figure = draw(look).figure
        for file in files:
            write_bytes(file, render(figure, file.suffix[1:], look.dpi))


def files_of(path: Path, endings: Sequence[str] = ENDINGS) -> list[Path]:
    """The table and what goes beside it that are meant by the name of any of them, or by what they have in common."""
    base = path.with_suffix("") if path.suffix in endings else path
    return [base.with_name(base.name + ending) for ending in endings]


@contextmanager
def reserved_pictures(path: Path, endings: Sequence[str] = ENDINGS) -> Iterator[Place]:
    """A place for a table, and what goes beside it, that are computed within the block.

    Raises:
        OutputError: a file cannot be written there.
        PathError: a file is there that is not of an earlier call.
    """
    table, *pictures = files_of(path, endings)
    with reserved(table) as place:
        for picture in pictures:
            require_writable(picture)
            if picture.exists() and not table.exists():
                problem = f"'{picture}' is there already, and no {table.name} to which it belongs"
                raise PathError("out", problem, "name another file with `out`, or move that one away")
        yield place
