"""What a data set is, and what a source of one has to say about itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from snrkit.errors import DataError

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec

Array = npt.NDArray[Any]
Values = Literal["grey", "real", "tokens"]


@dataclass(frozen=True)
class Dataset:
    """Training and test points, one per row, before any binarisation.

    Attributes:
        name: the source.
        train: [N, D] training points; grey: uint8 in 0..255 or float32 in [0, 1]; real: float32 or float64; tokens: int32
            numbers of words, as ``data.tokens`` makes them.
        test: [N_test, D] test points, of the same type.
        kind: ``grey``: intensities that can be binarised; ``real``: any finite numbers; ``tokens``: sentences.
        image_shape: (height, width) if a row is an image in row-major order, else None.
        origin: which file or procedure the points came from, to be stated beside every reported number.
        test_labels: [N_test] integer class of each test point, if the source has such.
        label: what tables call the data, where the source's name does not say which they are; empty: the name.
        numbers: of real-valued data, in words, with their range.
        remedy: of real-valued data, what makes them grey values.
        words: of tokens, the vocabulary; a word's place is its number.
    """

    name: str
    train: Array
    test: Array
    kind: Values
    image_shape: tuple[int, int] | None
    origin: str
    test_labels: Array | None = None
    label: str = ""
    numbers: str = ""
    remedy: str = ""
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for split, array in (("train", self.train), ("test", self.test)):
            if array.ndim != 2 or 0 in array.shape:
                raise DataError(self.name, f"{split} has shape {array.shape}, not [N, D]", "give at least one point")
        if self.train.shape[1] != self.test.shape[1] or self.train.dtype != self.test.dtype:
            raise DataError(self.name, "train and test points differ in length or type", "store both alike")
        if self.kind == "tokens" and max(self.train.max(), self.test.max()) >= len(self.words):
            problem = (
                f"a token has number {max(self.train.max(), self.test.max())}, and there are {len(self.words)} words"
            )
            raise DataError(self.name, problem, "give the whole vocabulary")


@dataclass(frozen=True)
class DataFile:
    """A file a source reads.

    Attributes:
        name: its name, without ``.gz``.
        sha256: SHA-256 of the unpacked bytes; None if not known.
        packed: SHA-256 of the packed file as it is published; None if not known.
    """

    name: str
    sha256: str | None
    packed: str | None = None


@dataclass(frozen=True)
class Source:
    """One source of data.

    Attributes:
        name: the registered name.
        description: what it is, sizes and citation, in one line.
        kind: what it yields; None if that depends on the file.
        load: reads or generates the points; may raise DataError or SpecError, downloads nothing.
        where: for a source without files of its own, where its points come from.
        files: the files it reads; empty if it needs none.
        alternatives: any one of ``files`` is enough.
        mirrors: addresses, each ending in "/", under which every file lies as ``<name>.gz``.
        by_hand: for files that cannot be fetched, what to put where.
        reads: which of the settings that are for some sources only (``path``, ``size``, ``min_count``, ...) it reads.
    """

    name: str
    description: str
    kind: Values | None
    load: Callable[[DataSpec, Path | None], Dataset]
    where: str = ""
    files: tuple[DataFile, ...] = ()
    alternatives: bool = False
    mirrors: tuple[str, ...] = ()
    by_hand: str = ""
    reads: tuple[str, ...] = ()
