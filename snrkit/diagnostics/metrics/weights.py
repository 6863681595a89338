"""What the log-weights of some draws say: effective sample size and the largest weight."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from snrkit.diagnostics.intervals import student
from snrkit.diagnostics.metrics.base import Evidence, Family, Reading
from snrkit.runs.metrics import Metric

if TYPE_CHECKING:
    from torch import Tensor

# Log-weights of one data point that are summarised at once.
AT_ONCE = 2**22


def _statistics(log_w: "Tensor") -> "Tensor":
    """(ESS, largest normalised weight): ``[..., K]`` to ``[..., 2]``, float64."""
    import torch

    from snrkit.core.logweights import effective_sample_size, normalised

    if log_w.shape[-1] <= AT_ONCE:
        return torch.stack([effective_sample_size(log_w), normalised(log_w).amax(dim=-1)], dim=-1)
    parts = torch.split(log_w, AT_ONCE, dim=-1)
    once, twice = (
        torch.stack([torch.logsumexp(factor * part.double(), dim=-1) for part in parts]).logsumexp(dim=0)
        for factor in (1, 2)
    )
    return torch.stack([torch.exp(2 * once - twice), torch.exp(log_w.amax(dim=-1).double() - once)], dim=-1)


def _read(evidence: Evidence) -> Iterator[Reading]:
    statistics = evidence.statistics
    draws = len(statistics)
    errors = statistics.std(axis=0, ddof=1) / np.sqrt(draws)
    for i, metric in enumerate(FAMILY.metrics):
        mean = student(float(statistics[:, i].mean()), float(errors[i]), draws)
        yield Reading(metric, "all", mean, remark=f"from {draws} draws")


FAMILY = Family(
    {
        "ess": Metric("effective sample size (sum w)^2/sum w^2 of K samples, mean over data points and draws", "ESS"),
        "largest_weight": Metric("largest of K normalised weights, mean over data points and draws", "largest weight"),
    },
    _read,
    needs="log-weights",
    statistics=_statistics,
)
