"""MNIST (LeCun, Cortes, Burges) in its IDX format, all 60,000 training and 10,000 test images."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snrkit.data.base import Array, DataFile, Dataset, Source
from snrkit.data.folder import data_folder, find, read_unpacked, require
from snrkit.errors import DataError

if TYPE_CHECKING:
    from snrkit.config import DataSpec

# Two zero bytes, type code 8 (unsigned byte), three dimensions.
IDX_IMAGES = bytes([0, 0, 8, 3])
HEADER_BYTES = 16
TRAIN = DataFile("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db")
TEST = DataFile("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7")
# Wanted only where labels are shown, so it need not be there.
TEST_LABELS = "t10k-labels-idx1-ubyte"
LABELS_HEADER = bytes([0, 0, 8, 1, 0, 0, 0x27, 0x10])
FETCH = "run 'snrkit data fetch mnist'"


def parse_idx(content: bytes, name: str) -> Array:
    """Read images in IDX format.

    The format: magic 00 00 08 03, then number, height and width as big-endian 32-bit integers, then the pixels, row by row.

    Args:
        content: the unpacked bytes of the file.
        name: what to call it in an error message.

    Returns:
        uint8 [N, height, width].

    Raises:
        DataError: not IDX images of unsigned bytes, or not exactly as long as its header says.
    """
    remedy = f"delete the file, then {FETCH}"
    if content[:4] != IDX_IMAGES:
        raise DataError(name, f"not IDX images (begins with {content[:4].hex(' ') or 'nothing'})", remedy)
    if len(content) < HEADER_BYTES:
        raise DataError(name, "cut short within the header", remedy)
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=3, offset=4))
    expected = HEADER_BYTES + math.prod(shape)
    if len(content) != expected:
        raise DataError(name, f"{len(content)} bytes long where its header says {expected}", remedy)
    return np.frombuffer(content, np.uint8, offset=HEADER_BYTES).reshape(shape)


def read_images(path: Path, count: int) -> Array:
    """Read one file of MNIST, raw or packed with gzip.

    Returns:
        uint8 [count, 784].

    Raises:
        DataError: the file is damaged, or does not hold ``count`` images of 28x28.
    """
    images = parse_idx(read_unpacked(path), str(path))
    if images.shape != (count, 28, 28):
        remedy = f"use data.name=npz for data of your own, or delete the file, then {FETCH}"
        raise DataError(str(path), f"holds images {images.shape}, not {(count, 28, 28)}", remedy)
    return images.reshape(count, -1)


def read_labels(path: Path) -> Array:
    """Read the labels of the test images, raw or packed with gzip: one byte each, after a header of eight.

    Returns:
        uint8 [10000].

    Raises:
        DataError: not 10,000 labels in IDX format.
    """
    content = read_unpacked(path)
    if content[:8] != LABELS_HEADER or len(content) != 8 + 10_000:
        raise DataError(str(path), "does not hold 10,000 labels in IDX format", "put the right file there, or none")
    return np.frombuffer(content, np.uint8, offset=8)


def load(_spec: DataSpec, folder: Path | None) -> Dataset:
    """Read MNIST from the data folder.

    Raises:
        DataError: a file is missing or damaged.
    """
    place = data_folder(folder)
    train, test = (require(place, "mnist", file.name, FETCH) for file in (TRAIN, TEST))
    labels = find(place, "mnist", TEST_LABELS)
    return Dataset(
        "mnist", read_images(train, 60_000), read_images(test, 10_000), "grey", (28, 28), "IDX files",
        None if labels is None else read_labels(labels),
    )  # fmt: skip


source = Source(
    name="mnist",
    description="MNIST digits, 28x28 grey, 60,000 train / 10,000 test; LeCun, Bottou, Bengio & Haffner 1998",
    kind="grey",
    load=load,
    files=(TRAIN, TEST),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
