"""A user's own data: an ``.npz`` file with the arrays ``x_train`` and ``x_test``."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from snrkit.data.base import Array, Dataset, Source, Values
from snrkit.data.folder import MOST_BYTES, digest, is_file
from snrkit.data.naming import file_label
from snrkit.data.remarks import remark
from snrkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec

KEYS = ("x_train", "x_test")
SAVE = "write it with numpy.savez(file, x_train=..., x_test=...)"
SMALLER = "store uint8 instead of floats, or fewer points"
GREY_MAX = 255
# Grey images reach the upper half of their range; integers that do not are likely on another scale.
HALF = 128
# A flat point of 3 x 8 x 8 numbers is taken for a colour image; of fewer too much else has as many.
LEAST_SIDE = 8
COLOURS = {3: "red, green and blue", 4: "three colours and a transparency"}


def read_arrays(path: Path) -> tuple[Array, Array]:
    """``x_train`` and ``x_test`` as stored. Pickled objects are refused, never executed.

    What an array's header says is looked at first: nothing is unpacked that is no array of numbers, or larger than
    ``folder.MOST_BYTES``.

    Raises:
        DataError: no such file, not an npz file, damaged, or an array is missing, holds objects or is too large.
    """
    if not is_file(path):
        raise DataError(str(path), "no such file", "give the path of an .npz file")
    try:
        if not zipfile.is_zipfile(path):
            raise DataError(str(path), "not an npz file, or cut short", SAVE)
        with zipfile.ZipFile(path) as archive:
            _look_at_headers(archive, path)
        with np.load(path, allow_pickle=False) as arrays:
            train, test = (_read_array(arrays, key, path) for key in KEYS)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(str(path), f"damaged npz file ({error.__class__.__name__})", "write it again") from None
    except MemoryError:
        raise DataError(str(path), "does not fit into memory", SMALLER) from None
    return train, test


def _look_at_headers(archive: zipfile.ZipFile, path: Path) -> None:
    members = {info.filename: info for info in archive.infolist()}
    missing = [key for key in KEYS if f"{key}.npy" not in members and key not in members]
    if missing:
        raise DataError(str(path), f"has no array {' and no array '.join(missing)}", SAVE)
    for key in KEYS:
        if f"{key}.npy" not in members:
            raise DataError(str(path), f"{key} is not an array", SAVE)
        info = members[f"{key}.npy"]
        with archive.open(info) as stream:
            _look_at_header(stream, key, info.file_size, path)


def _look_at_header(stream: IO[bytes], key: str, stored: int, path: Path) -> None:
    """See to it that an array is one of numbers, as long as its header says, and not too large.

    Raises:
        DataError: it is not.
    """
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise
    except Exception as error:  # numpy reads the header as Python, and raises whatever that does
        problem = f"{key} is not an array, or is damaged ({error.__class__.__name__})"
        raise DataError(str(path), problem, SAVE) from None
    if dtype.hasobject:
        raise DataError(str(path), f"{key} holds Python objects", "store it as a plain array of numbers")
    size, head = math.prod(shape) * dtype.itemsize, stream.tell()
    if size > MOST_BYTES:
        problem = (
            f"{key} has {size:,} bytes (shape {_shown(shape)}, {dtype}), more than the {MOST_BYTES:,} that are read"
        )
        raise DataError(str(path), problem, SMALLER)
    if stored != head + size:
        problem = (
            f"{key} is damaged: its header says {size:,} bytes (shape {_shown(shape)}), and it has {stored - head:,}"
        )
        raise DataError(str(path), problem, "write it again")


def _shown(shape: tuple[int, ...]) -> str:
    """A shape as text, of whatever length."""
    return str(shape) if len(shape) <= 8 else f"of {len(shape)} axes"


def _read_array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> Array:
    try:
        array: Array = archive[key]
    except ValueError:
        problem = f"{key} holds Python objects or is damaged"
        raise DataError(str(path), problem, "store it as a plain array of numbers") from None
    return array


@dataclass(frozen=True)
class Scale:
    """What real numbers are, in words.

    Attributes:
        numbers: the range.
        remedy: what would make them grey values.
    """

    numbers: str
    remedy: str


def scale_of(low: float, high: float) -> Scale:
    """What to say of floats that are no grey values: images are often stored from 0 to 255 or from -1 to 1."""
    numbers = f"numbers from {low:.4g} to {high:.4g}"
    if low >= 0 and high <= 65_535:
        top = GREY_MAX if HALF <= high <= GREY_MAX else high
        return Scale(numbers, f"divide them by {top:g} if they are grey values (x / {top:g}, in [0, 1])")
    if low >= -1 and high <= 1:
        return Scale(numbers, "store (x + 1) / 2 if they are grey values from -1 to 1")
    return Scale(numbers, "scale them to [0, 1] if they are grey values")


def interpret(train: Array, test: Array, name: str) -> tuple[Array, Array, Values]:
    """Decide what the numbers of both arrays mean, and bring them to one type.

    - bool, or integers that are all 0 or 1: binary pixels, 0 or 255;
    - integers in 0..255: grey as they are, with a remark where none reaches 128;
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
        return _as_floats(train, wide, "x_train", name), _as_floats(test, wide, "x_test", name), "real"
    if low < 0 or high > GREY_MAX:
        raise _out_of_range(int(low), int(high), name)
    if 1 < high < HALF:
        remark(
            f"{name}: integers from {low} to {high} are taken as grey levels of 255, so no pixel is on with more than "
            f"probability {high / GREY_MAX:.2f}; store x / {high} as floats if {high} is meant to be white"
        )
    # No grey image set stops at 1 of 255: such integers are binary pixels.
    scale = np.uint8(GREY_MAX if high <= 1 else 1)
    return train.astype(np.uint8) * scale, test.astype(np.uint8) * scale, "grey"


def _as_floats(array: Array, dtype: type, key: str, name: str) -> Array:
    """Floats of another width, none of which became infinite."""
    with np.errstate(over="ignore"):
        found: Array = array.astype(dtype)
    if not np.isfinite(found).all():
        problem = f"{key} holds numbers up to {np.abs(array).max()}, beyond {np.dtype(dtype)}"
        raise DataError(name, problem, "scale them down")
    return found


def _out_of_range(low: int, high: int, name: str) -> DataError:
    if low >= 0:
        remedy = f"store grey as uint8, or as floats x / {65_535 if HALF * 256 <= high <= 65_535 else high}"
    elif low >= -HALF and high < HALF:
        remedy = f"store grey as uint8 (x + {HALF} if the levels were shifted), or use floats"
    else:
        remedy = "store grey as uint8, or use floats"
    return DataError(name, f"integers from {low} to {high}, outside 0..255", remedy)


def _refuse_non_finite(array: Array, key: str, name: str) -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        problem = f"{key} holds {int(bad.sum())} NaN or infinite values, the first at {first}"
        raise DataError(name, problem, "remove or replace them")


def _refuse_labels(train: Array, path: Path) -> None:
    """A whole number for each point is no data point, and most likely its class.

    Raises:
        DataError: so it is.
    """
    if math.prod(train.shape[1:]) == 1 and train.dtype.kind in "iu":
        problem = f"x_train has shape {train.shape}, one whole number per point, as labels have"
        raise DataError(str(path), problem, "store the points as x_train, and as floats if each is a single number")


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
    _refuse_labels(train, path)
    train, test, kind = interpret(train, test, str(path))
    scale = scale_of(float(min(train.min(), test.min())), float(max(train.max(), test.max())))
    if kind == "grey" and (seen := colours(event)):
        remark(
            f"{path} holds {seen}: each is taken as {math.prod(event)} grey pixels side by side, to be made binary unless "
            "data.binarise=none; store grey images (as x.mean(axis=-1)) if that is not what you want"
        )
    # A colour axis of length 1 is no third dimension.
    plane = [n for n in event if n > 1] if len(event) > 2 else event
    image = (plane[0], plane[1]) if len(plane) == 2 else None
    known = digest(path)[:10]
    return Dataset(
        name, train.reshape(len(train), -1), test.reshape(len(test), -1), kind, image,
        f"{path.name} (SHA-256 {known})", None, file_label(name, path, known),
        *((scale.numbers, scale.remedy) if kind == "real" else ()),
    )  # fmt: skip


def colours(event: tuple[int, ...]) -> str:
    """What points of a shape are if it is that of colour images, in words; else empty. Flat ones are told by their size."""
    if len(event) == 3 and min(event) > 1:
        for axis, (height, width) in ((2, event[:2]), (0, event[1:])):
            if event[axis] in COLOURS:
                return f"images of {height}x{width} in {COLOURS[event[axis]]}"
    side = math.isqrt(event[0] // 3) if len(event) == 1 else 0
    return (
        f"{event[0]} numbers per point, as images of {side}x{side} in {COLOURS[3]} have"
        if (side >= LEAST_SIDE and 3 * side**2 == event[0])
        else ""
    )


def load(spec: DataSpec, _folder: Path | None) -> Dataset:
    """Read the file that the spec names.

    Raises:
        SpecError: the spec names no file.
        DataError: the file cannot be read, or its arrays cannot be used.
    """
    if spec.path is None:
        raise SpecError("data.path", "npz needs a file", "add `data.path=FILE.npz`")
    return load_file(Path(spec.path), "npz")


source = Source(
    name="npz",
    description="Your own .npz file with x_train [N, ...] and x_test [N_test, ...]: uint8, bool or floats",
    kind=None,
    load=load,
    where="the file in data.path",
    reads=("path",),
)
