"""A user's own data: an ``.npz`` file with the arrays ``x_train`` and ``x_test``."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snrkit.data.base import Array, Dataset, Kind, Source
from snrkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from snrkit.config import DataSpec

KEYS = ("x_train", "x_test")
SAVE = "write it with numpy.savez(file, x_train=..., x_test=...)"
GREY_MAX = 255
# numpy's kind of number -> whole numbers or floating point.
FAMILIES = {"b": "i", "u": "i", "i": "i", "f": "f"}


def read_arrays(path: Path) -> tuple[Array, Array]:
    """``x_train`` and ``x_test`` as stored. Pickled objects are refused, never executed.

    Raises:
        DataError: no such file, not an npz file, damaged, or an array is missing or holds objects.
    """
    if not path.is_file():
        raise DataError(str(path), "no such file", "give the path of an .npz file")
    if not zipfile.is_zipfile(path):
        raise DataError(str(path), "not an npz file, or cut short", SAVE)
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise DataError(str(path), f"has no array {' and no array '.join(missing)}", SAVE)
            train, test = (_read_array(archive, key, path) for key in KEYS)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(str(path), f"damaged npz file ({error.__class__.__name__})", "write it again") from None
    return train, test


def _read_array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> Array:
    try:
        array: Array = archive[key]
    except ValueError:
        problem = f"{key} holds Python objects or is damaged"
        raise DataError(str(path), problem, "store it as a plain array of numbers") from None
    if not isinstance(array, np.ndarray):
        raise DataError(str(path), f"{key} is not an array", SAVE)
    return array


def interpret(train: Array, test: Array, name: str) -> tuple[Array, Array, Kind]:
    """Decide what the numbers of both arrays mean, and bring them to one type.

    - bool, or integers that are all 0 or 1: binary pixels, 0 or 255;
    - integers in 0..255: grey as they are;
    - floats that are all in [0, 1]: grey, as float32;
    - other floats: real values, kept at float32 or float64.

    Args:
        train: [N, ...].
        test: [N_test, ...].
        name: what to call the file in an error message.

    Returns:
        Both arrays, shapes unchanged, and their kind.

    Raises:
        DataError: another type of number, one array of integers and one of floats, integers out of range, NaN or infinity.
    """
    families = [
        "f" if array.dtype.kind == "f" else "i" if array.dtype.kind in "bui" else "?" for array in (train, test)
    ]
    if "?" in families:
        array = train if families[0] == "?" else test
        raise DataError(name, f"{KEYS[families.index('?')]} is of type {array.dtype}", "store uint8, bool or floats")
    if families[0] != families[1]:
        raise DataError(name, f"x_train is {train.dtype} but x_test is {test.dtype}", "store both as the same type")
    for key, array in zip(KEYS, (train, test), strict=True):
        _refuse_non_finite(array, key, name)
    low, high = min(train.min(), test.min()), max(train.max(), test.max())
    if families[0] == "f" and low >= 0 and high <= 1:
        return train.astype(np.float32), test.astype(np.float32), "grey"
    if families[0] == "f":
        wide = np.float32 if max(train.dtype.itemsize, test.dtype.itemsize) <= 4 else np.float64
        return train.astype(wide), test.astype(wide), "real"
    if low < 0 or high > GREY_MAX:
        raise DataError(name, f"integers from {low} to {high}, outside 0..255", "store grey as uint8, or use floats")
    # No grey image set stops at 1 of 255: such integers are binary pixels.
    scale = np.uint8(GREY_MAX if high <= 1 else 1)
    return train.astype(np.uint8) * scale, test.astype(np.uint8) * scale, "grey"


def _refuse_non_finite(array: Array, key: str, name: str) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        problem = f"{key} holds {int(bad.sum())} NaN or infinite values, the first at {first}"
        raise DataError(name, problem, "remove or replace them")


def load_file(path: Path, name: str) -> Dataset:
    """Read a data set from an npz file.

    Args:
        path: the file.
        name: the name of the data set.

    Raises:
        DataError: the file cannot be read, or its arrays cannot be used.
    """
    train, test = read_arrays(path)
    for key, array in zip(KEYS, (train, test), strict=True):
        if array.ndim == 0 or array.size == 0:
            raise DataError(str(path), f"{key} is empty or no array of points (shape {array.shape})", SAVE)
    event = train.shape[1:]
    if event != test.shape[1:]:
        problem = f"a point of x_train has shape {event}, one of x_test {test.shape[1:]}"
        raise DataError(str(path), problem, "store points of the same shape")
    train, test, kind = interpret(train, test, str(path))
    # A colour axis of length 1 is no third dimension.
    plane = [n for n in event if n > 1] if len(event) > 2 else event
    image = (plane[0], plane[1]) if len(plane) == 2 else None
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    origin = f"{path.name} (SHA-256 {digest[:10]})"
    return Dataset(name, train.reshape(len(train), -1), test.reshape(len(test), -1), kind, image, origin)


def load(spec: DataSpec, _folder: Path | None) -> Dataset:
    """Read the file that the spec names.

    Raises:
        SpecError: the spec names no file.
        DataError: the file cannot be read, or its arrays cannot be used.
    """
    if spec.path is None:
        raise SpecError("data.path", "npz needs a file", "add --set data.path=FILE.npz")
    return load_file(Path(spec.path), "npz")


source = Source(
    name="npz",
    description="Your own .npz file with x_train [N, ...] and x_test [N_test, ...]: uint8, bool or floats",
    kind=None,
    load=load,
    where="the file in data.path",
)
