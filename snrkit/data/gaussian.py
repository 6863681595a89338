"""Points of the Gaussian toy model of Rainforth et al. 2018 (Tighter variational bounds are not necessarily better)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snrkit.backend.memory import require_memory
from snrkit.data.base import Array, Dataset, Source

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec


def load(spec: DataSpec, _folder: Path | None) -> Dataset:
    """Generate points: mu ~ N(0, I) once, then z ~ N(mu, I) and x ~ N(z, I) for each point.

    Returns:
        float64, so that float64 runs see exact data: ``spec.size`` points to train and as many to test, of ``spec.dim``
        numbers each. Point i does not depend on ``size``.

    Raises:
        ResourceError: they cannot fit in memory.
    """
    # Training and test points as float64, and the noise of one of them.
    size = 8 * spec.dim * spec.size * 4
    require_memory(
        "data.size", f"{spec.size} points of {spec.dim} numbers", size, "give a smaller data.size or data.dim"
    )
    # Imported here because it loads torch, which listing data does not need.
    from snrkit.core.streams import Streams

    streams = Streams(spec.seed)
    mu = streams.numpy("data-gaussian", 0).standard_normal(spec.dim)

    def points(split: int) -> Array:
        # [N, 2, D]: the noise of z given mu, and of x given z.
        noise = streams.numpy("data-gaussian", split).standard_normal((spec.size, 2, spec.dim))
        x: Array = mu + np.sum(noise, axis=1)
        return x

    return Dataset("gaussian", points(1), points(2), "real", None, f"generated, seed {spec.seed}")


source = Source(
    name="gaussian",
    description="Gaussian toy, data.size train / as many test points of data.dim numbers; Rainforth et al. 2018",
    kind="real",
    load=load,
    where="generated",
    reads=("size", "dim"),
)
