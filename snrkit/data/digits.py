"""Handwritten digits, 8x8, as they come with scikit-learn: small, and always there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snrkit.data.base import Array, Dataset, Source

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec

TRAIN = 1497
SPLIT_SEED = 0
MAX_INK = 16


def split_order(n: int) -> Array:
    """[n] the fixed order whose first ``TRAIN`` entries are the training images.

    The same everywhere and whatever ``DataSpec.seed``: numpy freezes the numbers of ``RandomState`` for good, which it
    does not for its newer generators.
    """
    return np.random.RandomState(SPLIT_SEED).permutation(n)


def load(_spec: DataSpec, _folder: Path | None) -> Dataset:
    """The 1,797 images, 1,497 to train and 300 to test; ink 0..16 becomes grey round(255 ink / 16)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = split_order(len(digits.data))
    grey = np.round(digits.data * (255 / MAX_INK)).astype(np.uint8)[order]
    origin = f"sklearn.datasets.load_digits, split by RandomState({SPLIT_SEED})"
    return Dataset("digits", grey[:TRAIN], grey[TRAIN:], "grey", (8, 8), origin, digits.target[order][TRAIN:])


source = Source(
    name="digits",
    description="Handwritten digits, 8x8 grey, 1,497 train / 300 test; Alpaydin & Kaynak 1998, UCI, CC BY 4.0",
    kind="grey",
    load=load,
    where="comes with scikit-learn",
)
