"""MNIST (LeCun, Cortes, Burges), and the sets that were made to take its place under the very names of its files.

All have 60,000 training and 10,000 test images of 28x28 in IDX format. Which set a file is of, its contents say: names and
folders are the same wherever people keep them.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit.data.base import Array, DataFile, Dataset, Source
from snrkit.data.folder import SAME_NAMES, candidates, data_folder, is_file, known_content, missing, read_unpacked
from snrkit.data.idx import HEADER_BYTES, parse_idx, parse_labels
from snrkit.errors import DataError

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec

TRAIN = DataFile("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db")
TEST = DataFile("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7")
# Wanted only where labels are shown, so it need not be there.
LABELS = DataFile("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2")
COUNTS = {TRAIN.name: 60_000, TEST.name: 10_000}
SIDE = 28
# Of a file of these sets, with room for what is no longer one.
MOST_BYTES = 2 * (HEADER_BYTES + 60_000 * SIDE**2)
FETCH = "run 'snrkit data fetch mnist'"

# Published are checksums of the packed files alone, so the packed files are what is read.
FILES = {
    "mnist": (TRAIN, TEST, LABELS),
    "fashion-mnist": (
        DataFile(TRAIN.name, None, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        DataFile(TEST.name, None, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        DataFile(
            LABELS.name,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ),
    "kmnist": (
        DataFile(TRAIN.name, None, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        DataFile(TEST.name, None, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        DataFile(LABELS.name, None, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    ),
}


def read_images(path: Path, count: int, remedy: str = FETCH) -> Array:
    """Read one file of such a set, raw or packed with gzip.

    Args:
        path: the file.
        count: of images that it must hold.
        remedy: how to get the set, for an error message.

    Returns:
        uint8 [count, 784].

    Raises:
        DataError: the file is damaged, or does not hold ``count`` images of 28x28.
    """
    return parse_images(read_unpacked(path, MOST_BYTES), path, count, remedy)


def parse_images(content: bytes, path: Path, count: int, remedy: str = FETCH) -> Array:
    """The same of a file's unpacked bytes."""
    remedy = f"delete the file, then {remedy}"
    images = parse_idx(content, str(path), remedy)
    if images.shape != (count, SIDE, SIDE):
        problem = f"holds images {images.shape}, not {(count, SIDE, SIDE)}"
        raise DataError(str(path), problem, f"use data.name=idx or npz for data of your own, or {remedy}")
    return images.reshape(count, -1)


def read_labels(path: Path) -> Array:
    """Read the labels of the test images, raw or packed with gzip.

    Returns:
        uint8 [10000].

    Raises:
        DataError: not 10,000 labels in IDX format.
    """
    return parse_labels(read_unpacked(path, MOST_BYTES), str(path), COUNTS[TEST.name])


def identify(path: Path) -> str | None:
    """Which of these sets a file belongs to, by its contents; None: none of them."""
    for name, files in FILES.items():
        if any(known_content(path, file, MOST_BYTES) is not None for file in files):
            return name
    return None


def load(name: str, remedy: str, _spec: DataSpec, folder: Path | None) -> Dataset:
    """Read such a set from the data folder.

    Args:
        name: which.
        remedy: how to get it, for an error message.
        folder: where data files live; None stands for ``SNRKIT_DATA`` or the cache folder.

    Raises:
        DataError: a file is missing, damaged, or not of this set.
    """
    place = data_folder(folder)
    train, test, labels = FILES[name]
    (images, _), (tests, where) = (_images(place, name, file, remedy) for file in (train, test))
    return Dataset(name, images, tests, "grey", (SIDE, SIDE), "IDX files", _labels(place, name, labels, where))


def _images(folder: Path, name: str, file: DataFile, remedy: str) -> tuple[Array, Path]:
    """The images of the first place that holds the right ones, and that place."""
    places = candidates(folder, name, file.name)
    if not places:
        raise missing(folder, name, file.name, remedy)
    for place in places:
        content = _content(place, file)
        if content is not None:
            return parse_images(content, place, COUNTS[file.name], remedy), place
    raise _foreign(places[0], name, file, remedy)


def _content(path: Path, file: DataFile) -> bytes | None:
    """The bytes of a file that is the one meant; a damaged one is not, and another place may have it whole."""
    try:
        return known_content(path, file, MOST_BYTES)
    except DataError:
        return None


def _foreign(path: Path, name: str, file: DataFile, remedy: str) -> DataError:
    """What to say of a file that bears the right name and holds something else.

    Raises:
        DataError: it is damaged or holds no such images at all, which is the nearer thing to say.
    """
    read_images(path, COUNTS[file.name], remedy)
    other = identify(path)
    if other is not None:
        problem = f"holds images of {other}, not of {name}"
        return DataError(str(path), problem, f"train on them with `data.name={other}`, or {remedy}")
    known = "in the packed file as published (.gz)" if file.sha256 is None else "by their SHA-256"
    problem = f"holds 28x28 images that are not those of {name} (known {known})"
    own = f"train on your own with `data.name=idx` `data.path={path.parent}` (or as .npz with `data.name=npz`)"
    return DataError(str(path), problem, f"{own}, or {remedy}")


def _labels(folder: Path, name: str, file: DataFile, images: Path) -> Array | None:
    """The labels of the test images, if they are anywhere.

    Raises:
        DataError: those beside the images are of something else.
    """
    places = candidates(folder, name, file.name)
    for place in places:
        content = _content(place, file)
        if content is not None:
            return parse_labels(content, str(place), COUNTS[TEST.name])
    beside = next((place for place in places if place.parent == images.parent and is_file(place)), None)
    if beside is None:
        return None
    read_labels(beside)
    raise DataError(str(beside), f"holds labels that are not those of {name}", "put the right file there, or none")


source = Source(
    name="mnist",
    description="MNIST digits, 28x28 grey, 60,000 train / 10,000 test; LeCun, Bottou, Bengio & Haffner 1998",
    kind="grey",
    load=functools.partial(load, "mnist", FETCH),
    files=(TRAIN, TEST),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)


def _by_hand(name: str, repository: str, title: str, reference: str) -> Source:
    """A set that is not fetched: its packed files are put there by hand."""
    remedy = (
        f"put {TRAIN.name}.gz and {TEST.name}.gz of github.com/{repository} into the folder {name} of your data folder, "
        f"packed as they are (torchvision's {SAME_NAMES[name]}/raw there is found too)"
    )
    description = f"{title}, 28x28 grey, 60,000 train / 10,000 test; {reference}"
    load_it = functools.partial(load, name, remedy)
    return Source(name, description, "grey", load_it, files=FILES[name][:2], by_hand=remedy)


fashion = _by_hand(
    "fashion-mnist", "zalandoresearch/fashion-mnist", "Fashion-MNIST", "Xiao, Rasul & Vollgraf 2017, MIT licence"
)
kuzushiji = _by_hand("kmnist", "rois-codh/kmnist", "Kuzushiji-MNIST", "Clanuwat et al. 2018, CC BY-SA 4.0")
