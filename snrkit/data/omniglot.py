"""Omniglot (Lake, Salakhutdinov & Tenenbaum 2015) at 28x28, from either of two files.

``chardata.mat`` is the file of Burda, Grosse & Salakhutdinov 2016 and of most papers since; ``omniglot28.npz`` holds the
same drawings reduced anew, with a split of the same rule. Bounds differ between them: ``Dataset.origin`` says which it was.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snrkit.data.base import Array, DataFile, Dataset, Source
from snrkit.data.folder import data_folder, digest, find
from snrkit.data.npz import load_file
from snrkit.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from snrkit.specs.run import DataSpec

SIDE = 28
MAT = DataFile("chardata.mat", None)
NPZ = DataFile("omniglot28.npz", "a4a90c2a3bf3bbfcec05a6f744fe8d98668b205e0ff520367539e04aaff05f0e")
# Key in chardata.mat -> number of images.
MAT_KEYS = {"data": 24_345, "testdata": 8_070}
# As scipy.io.whosmat calls them.
NUMBERS = frozenset(
    {"double", "single", "logical", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
)
# The arrays have 203 million bytes as doubles.
MOST_MAT = 2**30
BY_HAND = (
    "put chardata.mat (https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT/chardata.mat) or omniglot28.npz into "
    "the folder omniglot of your data folder ('snrkit data list' names it)"
)


def read_mat(path: Path) -> tuple[Array, Array]:
    """Read ``chardata.mat``.

    Each column is an image in MATLAB's column-major order (as Burda's own loader takes it), so its two axes are swapped
    here to give row-major rows with the characters upright.

    Returns:
        float32 [24345, 784] and [8070, 784], in [0, 1].

    Raises:
        DataError: not that file, or damaged.
    """
    import scipy.io

    remedy = "get chardata.mat again"
    try:
        listed = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(path)}
    except Exception as error:  # scipy raises a dozen unrelated kinds for files that are not what they seem
        raise DataError(str(path), f"cannot be read as a MATLAB file ({error.__class__.__name__})", remedy) from None
    _look_at_arrays(listed, path)
    try:
        content = scipy.io.loadmat(path, variable_names=list(MAT_KEYS))
    except Exception as error:  # scipy raises a dozen unrelated kinds for files that are not what they seem
        raise DataError(str(path), f"cannot be read as a MATLAB file ({error.__class__.__name__})", remedy) from None
    return _rows(content, "data", path), _rows(content, "testdata", path)


def _look_at_arrays(listed: Mapping[str, tuple[tuple[int, ...], str]], path: Path) -> None:
    """See to it that the file holds what is wanted of it, before any of it is unpacked.

    Raises:
        DataError: it does not.
    """
    remedy = "get chardata.mat again"
    if path.stat().st_size > MOST_MAT:
        raise DataError(
            str(path), f"has {path.stat().st_size:,} bytes, more than the {MOST_MAT:,} that are read", remedy
        )
    for key, count in MAT_KEYS.items():
        shape, kind = listed.get(key, ((SIDE * SIDE, count), "double"))
        if shape != (SIDE * SIDE, count):
            raise DataError(str(path), f"'{key}' has shape {shape}, not {(SIDE * SIDE, count)}", remedy)
        if kind not in NUMBERS:
            raise DataError(str(path), f"'{key}' is of type {kind}, not a plain array of numbers", remedy)


def _rows(content: dict[str, Array], key: str, path: Path) -> Array:
    columns = content.get(key)
    if columns is None:
        raise DataError(str(path), f"'{key}' is missing", "get chardata.mat again")
    if not isinstance(columns, np.ndarray) or columns.dtype.kind not in "buif":
        kind = getattr(columns, "dtype", type(columns).__name__)
        raise DataError(str(path), f"'{key}' is of type {kind}", "get chardata.mat again")
    grey = columns.T.astype(np.float32)
    # Written so that NaN fails too.
    if not (grey.min() >= 0 and grey.max() <= 1):
        raise DataError(str(path), f"'{key}' has values outside [0, 1]", "get chardata.mat again")
    return grey.reshape(-1, SIDE, SIDE).swapaxes(1, 2).reshape(-1, SIDE * SIDE)


def load(_spec: DataSpec, folder: Path | None) -> Dataset:
    """Read Omniglot from the data folder: ``chardata.mat`` if it is there, else ``omniglot28.npz``.

    Raises:
        DataError: neither file is there, or the one found is damaged.
    """
    place = data_folder(folder)
    mat = find(place, "omniglot", MAT.name)
    if mat is not None:
        train, test = read_mat(mat)
        return Dataset("omniglot", train, test, "grey", (SIDE, SIDE), MAT.name, label=f"omniglot {MAT.name}")
    npz = find(place, "omniglot", NPZ.name)
    if npz is None:
        raise DataError("omniglot", f"neither {MAT.name} nor {NPZ.name} in {place / 'omniglot'} or {place}", BY_HAND)
    dataset = load_file(npz, "omniglot")
    if dataset.image_shape != (SIDE, SIDE) or dataset.kind != "grey":
        raise DataError(str(npz), "does not hold grey images of 28x28", BY_HAND)
    if digest(npz) != NPZ.sha256:
        problem = "holds 28x28 images that are not those of omniglot (known by their SHA-256)"
        raise DataError(str(npz), problem, f"train on your own with `data.name=npz` `data.path={npz}`, or {BY_HAND}")
    return dataclasses.replace(dataset, label="")


source = Source(
    name="omniglot",
    description="Omniglot characters, 28x28 grey, 24,345 train / 8,070 or 8,115 test; Lake et al. 2015, MIT licence",
    kind="grey",
    load=load,
    files=(MAT, NPZ),
    alternatives=True,
    by_hand=BY_HAND,
)
