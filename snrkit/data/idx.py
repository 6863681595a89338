"""Images in the IDX format: how it is read, and a source for a user's own files of this kind."""

from __future__ import annotations

import hashlib
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snrkit.data.base import Array, Dataset, Source
from snrkit.data.folder import is_file, is_folder, read_unpacked
from snrkit.data.naming import file_label
from snrkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec

# Two zero bytes, type code 8 (unsigned byte), three dimensions.
IDX_IMAGES = bytes([0, 0, 8, 3])
IDX_LABELS = bytes([0, 0, 8, 1])
HEADER_BYTES = 16
LABELS_HEADER_BYTES = 8
REMEDY = "get it again, or store the images with numpy.savez and use data.name=npz"
# Which file holds what, by its name; of one training and one test file each.
_TRAIN = re.compile(r"train.*(image|img|idx3)", re.IGNORECASE)
_TEST = re.compile(r"(t10k|test).*(image|img|idx3)", re.IGNORECASE)
NAMES = "train-images-idx3-ubyte and t10k-images-idx3-ubyte, each with or without .gz"


def parse_idx(content: bytes, name: str, remedy: str = REMEDY) -> Array:
    """Read images in IDX format.

    The format: magic 00 00 08 03, then number, height and width as big-endian 32-bit integers, then the pixels, row by row.

    Args:
        content: the unpacked bytes of the file.
        name: what to call it in an error message.
        remedy: what to do about a file that is damaged, for an error message.

    Returns:
        uint8 [N, height, width].

    Raises:
        DataError: not IDX images of unsigned bytes, or not exactly as long as its header says.
    """
    if content[:4] != IDX_IMAGES:
        raise DataError(name, f"not IDX images (begins with {content[:4].hex(' ') or 'nothing'})", remedy)
    if len(content) < HEADER_BYTES:
        raise DataError(name, "cut short within the header", remedy)
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=3, offset=4))
    expected = HEADER_BYTES + math.prod(shape)
    if len(content) != expected:
        raise DataError(name, f"{len(content)} bytes long where its header says {expected}", remedy)
    return np.frombuffer(content, np.uint8, offset=HEADER_BYTES).reshape(shape)


def parse_labels(content: bytes, name: str, count: int) -> Array:
    """Read labels in IDX format: one byte each, after a header of eight.

    Returns:
        uint8 [count].

    Raises:
        DataError: not so many labels in IDX format.
    """
    header = IDX_LABELS + count.to_bytes(4, "big")
    if content[:LABELS_HEADER_BYTES] != header or len(content) != LABELS_HEADER_BYTES + count:
        raise DataError(name, f"does not hold {count:,} labels in IDX format", "put the right file there, or none")
    return np.frombuffer(content, np.uint8, offset=LABELS_HEADER_BYTES)


def own_files(path: Path) -> tuple[Path, Path]:
    """The training and the test images meant by a folder that holds both, or by the file of training images.

    Raises:
        DataError: there is no such pair, or more than one.
    """
    whole = is_folder(path)
    folder = path if whole else path.parent
    if not whole and not is_file(path):
        raise DataError(str(path), "no such file or folder", f"give a folder with {NAMES}")
    places = [folder, folder / "raw"] if whole else [folder]
    found = next((names for place in places if (names := _images(place))), [])
    train = [one for one in found if _TRAIN.search(one.name)] if whole else [path]
    test = [one for one in found if _TEST.search(one.name) and one != path]
    if not whole:
        # Beside several sets of one folder only that of the same name belongs to the file.
        same = [one for one in test if _stem(one) == _stem(path)]
        test = same or test
    if len(_unpacked(train)) == len(_unpacked(test)) == 1:
        return train[0], test[0]
    seen = ", ".join(one.name for one in found[:6]) or "no file that looks like it"
    problem = f"holds not one file of training images and one of test images ({seen})"
    raise DataError(str(folder), problem, f"name them {NAMES}")


def _images(folder: Path) -> list[Path]:
    """Files that look like images in IDX format by their names; a file as it is comes before a packed one."""
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if entry.is_file()]
    except OSError:
        return []
    return sorted(one for one in found if _TRAIN.search(one.name) or _TEST.search(one.name))


def _unpacked(files: list[Path]) -> set[str]:
    """Names without ``.gz``: a file and its packed copy are one."""
    return {one.name.removesuffix(".gz") for one in files}


def _stem(path: Path) -> str:
    return re.sub("train|t10k|test", "", path.name.removesuffix(".gz"), flags=re.IGNORECASE)


def _labels(test: Path, count: int) -> Array | None:
    """The labels beside the test images, if they are there under the name that goes with theirs."""
    plain = re.sub("idx3", "idx1", test.name.removesuffix(".gz")).replace("images", "labels")
    places = [test.parent / (plain + suffix) for suffix in ("", ".gz")]
    place = next((place for place in places if place != test and is_file(place)), None)
    return None if place is None else parse_labels(read_unpacked(place), str(place), count)


def load(spec: DataSpec, _folder: Path | None) -> Dataset:
    """Read the files that the spec names.

    Raises:
        SpecError: the spec names neither folder nor file.
        DataError: the files cannot be read, or do not hold images of one size.
    """
    if spec.path is None:
        raise SpecError("data.path", "idx needs a folder or a file", f"add `data.path=FOLDER`, with {NAMES}")
    places = own_files(Path(spec.path))
    contents = [read_unpacked(place) for place in places]
    train, test = (parse_idx(content, str(place)) for content, place in zip(contents, places, strict=True))
    for images, place in zip((train, test), places, strict=True):
        if images.size == 0:
            raise DataError(str(place), "holds no image", REMEDY)
    if train.shape[1:] != test.shape[1:]:
        problem = f"holds images of {test.shape[1:]}, and {places[0].name} of {train.shape[1:]}"
        raise DataError(str(places[1]), problem, "store images of the same size")
    digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()[:10]
    origin = f"{places[0].name} and {places[1].name} (SHA-256 {digest})"
    shape = (int(train.shape[1]), int(train.shape[2]))
    return Dataset(
        "idx", train.reshape(len(train), -1), test.reshape(len(test), -1), "grey", shape, origin,
        _labels(places[1], len(test)), file_label("idx", places[0].parent, digest),
    )  # fmt: skip


source = Source(
    name="idx",
    description=f"Your own images in MNIST's format: {NAMES}",
    kind="grey",
    load=load,
    where="the folder or file in data.path",
    reads=("path",),
)
