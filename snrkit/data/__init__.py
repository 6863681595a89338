"""Data sets by name. Listing and checking names imports neither numpy nor torch."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from snrkit.errors import SpecError
from snrkit.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from snrkit.data.base import Dataset, Values
    from snrkit.specs.base import Binarise
    from snrkit.specs.run import DataSpec

SOURCES = Registry(
    "data",
    {
        "digits": "snrkit.data.digits:source",
        "mnist": "snrkit.data.mnist:source",
        "fashion-mnist": "snrkit.data.mnist:fashion",
        "kmnist": "snrkit.data.mnist:kuzushiji",
        "omniglot": "snrkit.data.omniglot:source",
        "npz": "snrkit.data.npz:source",
        "idx": "snrkit.data.idx:source",
        "gaussian": "snrkit.data.gaussian:source",
        "sentences": "snrkit.data.sentences:source",
        "text": "snrkit.data.text:source",
    },
    group="snrkit.data",
    what="snrkit.data.base:Source",
)


def load(spec: DataSpec, folder: Path | None) -> Dataset:
    """Read or generate the data a spec names. Downloads nothing.

    Args:
        spec: which data; ``train_limit`` keeps the first so many training points.
        folder: where data files live; None stands for ``SNRKIT_DATA`` or the cache folder.

    Raises:
        SpecError: the spec does not fit the source, or its binarisation does not fit the data.
        DataError: a file is missing, damaged or of the wrong shape.
    """
    source = SOURCES.load(spec.name)
    if spec.path is not None and "path" not in source.reads:
        raise SpecError("data.path", f"{spec.name} reads no file of yours", "drop it, or set data.name=npz (or idx)")
    _require_usable_name(spec)
    dataset: Dataset = source.load(spec, folder)
    if dataset.kind == "real" and spec.binarise not in (None, "none") and dataset.numbers:
        problem = f"'{spec.binarise}' needs grey values in [0, 1], and {spec.name} holds {dataset.numbers}"
        raise SpecError("data.binarise", problem, f"set it to none, or {dataset.remedy}")
    binarisation(spec, dataset.kind)
    if spec.train_limit is None:
        return dataset
    if spec.train_limit > len(dataset.train):
        problem = f"{spec.train_limit} is more than the {len(dataset.train)} training points of {spec.name}"
        raise SpecError("data.train_limit", problem, "give a smaller number or leave it out")
    return dataclasses.replace(dataset, train=dataset.train[: spec.train_limit])


def _require_usable_name(spec: DataSpec) -> None:
    """A run records where its data lie, as text.

    Raises:
        SpecError: the name of the file is none.
    """
    try:
        usable = spec.path is None or "\0" not in spec.path.encode().decode()
    except UnicodeError:
        usable = False
    if not usable:
        shown = repr(spec.path)
        raise SpecError("data.path", f"{shown} is no text in UTF-8, which a run could record", "rename the file")


def binarisation(spec: DataSpec, kind: Values) -> Binarise:
    """How the data are binarised: as the spec says, else ``dynamic`` for grey images and ``none`` for all other data.

    Args:
        spec: the spec as given.
        kind: what the loaded data turned out to be (``Dataset.kind``).

    Raises:
        SpecError: what is no image is to be binarised.
    """
    if kind == "tokens" and spec.binarise not in (None, "none"):
        raise SpecError("data.binarise", f"'{spec.binarise}' needs grey values, and {spec.name} holds words", "drop it")
    if kind == "real" and spec.binarise not in (None, "none"):
        problem = f"'{spec.binarise}' needs grey values, and {spec.name} holds numbers outside [0, 1]"
        raise SpecError("data.binarise", problem, "set it to none, or store uint8 or floats in [0, 1]")
    return spec.binarise or ("dynamic" if kind == "grey" else "none")


def resolve(spec: DataSpec, kind: Values) -> DataSpec:
    """The spec with its binarisation filled in, as ``binarisation`` decides it.

    Raises:
        SpecError: what is no image is to be binarised.
    """
    return spec.model_copy(update={"binarise": binarisation(spec, kind)})
