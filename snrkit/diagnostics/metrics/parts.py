"""Where the noise of a random minibatch gradient comes from: which points it holds, or which samples were drawn.

For B points drawn with replacement and M outer samples (law of total variance),
Var[g] = (1/B) Var_b(mu_b) + (1/(B M)) E_b(v_b), in traces; without replacement from N points the first term carries
(N - B)/(N - 1).
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from snrkit.diagnostics.intervals import Interval, delete_one, jackknife_stderr, student
from snrkit.diagnostics.metrics.base import Evidence, Family, Reading
from snrkit.runs.metrics import Metric
from snrkit.types import Array

if TYPE_CHECKING:  # it loads torch
    from snrkit.diagnostics.moments import Moments


def decompose(moments: "Moments", tensors: slice) -> dict[str, dict[str, Interval]]:
    """The two parts per unit gradient, for a network or tensor.

    Args:
        moments: moments with at least 3 groups of one point each.
        tensors: which tensors of the layout.

    Returns:
        For scope ``points`` (the named points; errors over draws) and ``dataset`` (what they say of the data set; errors
        over points): metric to interval.
    """
    # [G blocks, points, 3]: squared norm of the point's mean, its product with the minibatch mean, trace of its variance.
    scalars = moments.points[:, :, tensors].sum(axis=2)
    per_draw = 1 / moments.counts
    found = {}
    for scope, axis in (("points", 0), ("dataset", 1)):
        size = scalars.shape[axis]
        leave = _leave_blocks if axis == 0 else _leave_points
        full = np.array(_values(scalars, per_draw, np.ones(scalars.shape[1])))
        replicates = np.array([leave(scalars, per_draw, row) for row in delete_one(size)])
        errors = jackknife_stderr(replicates)
        found[scope] = {name: student(full[i], errors[i], size) for i, name in enumerate(FAMILY.metrics)}
    return found


Values = tuple[float, float, float]


def _leave_blocks(scalars: Array, per_draw: Array, selection: Array) -> Values:
    kept = selection > 0
    return _values(scalars[kept], per_draw[kept], np.ones(scalars.shape[1]))


def _leave_points(scalars: Array, per_draw: Array, selection: Array) -> Values:
    return _values(scalars, per_draw, selection)


def _values(scalars: Array, per_draw: Array, chosen: Array) -> Values:
    """(data part, Monte Carlo part, critical M) of the chosen points, averaged over blocks of draws.

    Within a block of n draws the spread of the point means exceeds Var_b(mu_b) by E_b(v_b)/n, which is taken off.
    """
    n_all, n = scalars.shape[1], chosen.sum()
    norms, with_mean, traces = np.moveaxis(scalars, 2, 0)
    # |sum of the chosen|^2 from products with the sum S over all points: |S|^2 - 2 <S, left out> + |left out|^2, exact
    # when at most one point is left out.
    left = 1 - chosen
    whole = n_all**2 * with_mean.mean(axis=1)
    total = whole - 2 * n_all * with_mean @ left + norms @ left
    monte_carlo = traces @ chosen / n
    data = (norms @ chosen - total / n) / (n - 1) - monte_carlo * per_draw
    part, noise = float(data.mean()), float(monte_carlo.mean())
    return part, noise, noise / part if part > 0 else math.nan


def _read(evidence: Evidence) -> Iterator[Reading]:
    moments, layout = evidence.moments, evidence.layout
    if evidence.job.direct or moments.points.shape[1] < 3:
        return
    boundary = sum(network == "inference" for network in layout.networks)
    spans = {"inference": slice(0, boundary), "generative": slice(boundary, None), "all": slice(None)}
    spans |= {name: slice(i, i + 1) for i, name in enumerate(layout.names)}
    for name, block in evidence.blocks.items():
        for scope, parts in decompose(moments, spans[name]).items():
            for metric, interval in parts.items():
                yield Reading(metric, name, interval, n_coordinates=block.stop - block.start, scope=scope)


FAMILY = Family(
    {
        "data_variance": Metric(
            "trace of Var_b(E[g_b]) over data points; a random minibatch of B has 1/B of it", "data variance"
        ),
        "monte_carlo_variance": Metric(
            "mean over data points of tr Var[g_b]; a random minibatch of B has 1/B of it",
            "Monte Carlo variance",
            power=-1,
        ),
        "critical_M": Metric(
            "M at which the Monte Carlo part of a random minibatch's variance equals the data part", "critical M"
        ),
    },
    _read,
)
