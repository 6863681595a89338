"""Bars: small images of horizontal or vertical lines."""

from pathlib import Path

import numpy as np

from snrkit.data.base import Array, Dataset, Source
from snrkit.specs.run import DataSpec

SIDE = 4


def load(spec: DataSpec, _folder: Path | None) -> Dataset:
    """Generate ``spec.size`` images to train and as many to test; each line is on with probability 0.3."""

    def images(split: int) -> Array:
        lines = np.random.default_rng([spec.seed, split]).random((spec.size, 2, SIDE)) < 0.3
        rows, columns = lines[:, 0, :, None], lines[:, 1, None, :]
        return (255 * (rows | columns)).astype(np.uint8).reshape(spec.size, SIDE * SIDE)

    return Dataset("bars", images(0), images(1), "grey", (SIDE, SIDE), f"generated, seed {spec.seed}")


source = Source(
    name="bars",
    description=f"Bars, {SIDE}x{SIDE}, data.size train / as many test images",
    kind="grey",
    load=load,
    where="generated",
    reads=("size",),
)
