"""How many coordinates of the gradient show a signal at all."""

from collections.abc import Iterator

import numpy as np

from snrkit.diagnostics.intervals import clipped, half_sample_stderr, half_samples, student
from snrkit.diagnostics.metrics.base import Evidence, Family, Reading
from snrkit.runs.metrics import Metric

LEVEL = 2.0
NOISE = 0.0455  # how often |N(0, 1)| exceeds LEVEL


def _share(evidence: Evidence, block: slice, selection: "np.ndarray | None" = None) -> float:
    """Share of the coordinates that vary whose mean is more than ``LEVEL`` standard errors from 0."""
    draws, mean, variance = evidence.moments.merged(selection)
    moving = variance[block] > 0
    ratio = np.abs(mean[block][moving]) / np.sqrt(variance[block][moving] / draws)
    return float((ratio > LEVEL).mean()) if moving.any() else float("nan")


def _read(evidence: Evidence) -> Iterator[Reading]:
    G = evidence.moments.blocks
    for name, block in evidence.blocks.items():
        replicates = np.array([_share(evidence, block, row) for row in half_samples(G)])
        interval = student(_share(evidence, block), float(half_sample_stderr(replicates)), G)
        yield Reading("share_above_noise", name, clipped(interval), NOISE, block.stop - block.start)


FAMILY = Family(
    {
        "share_above_noise": Metric(
            f"share of coordinates whose mean is more than {LEVEL:g} standard errors from 0", "share above noise",
            of_mean=True, shown=True,
        )
    },
    _read,
)  # fmt: skip
