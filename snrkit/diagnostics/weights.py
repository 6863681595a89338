"""What the log-weights of some draws say: the metrics that need them, and where weights are zero."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from snrkit.core.objective import require_per_point
from snrkit.diagnostics.metrics.base import Family
from snrkit.diagnostics.metrics.weights import AT_ONCE
from snrkit.diagnostics.plan import Job
from snrkit.errors import NonFiniteError
from snrkit.types import Array

_CHECK = "check the model's parameters and the range of the data"
_NAMED = 3


class WeightTally:
    """Statistics of the log-weights of the first draws of a job, a portion of draws of a group at a time.

    Args:
        job: the job.
        groups: its groups of data points, G.
        draws: how many draws.
        families: metrics whose statistics are taken.
    """

    def __init__(self, job: Job, groups: int, draws: int, families: Sequence[Family] = ()) -> None:
        self._job, self._groups, self._draws = job, groups, draws
        self._families = [(family, family.statistics) for family in families if family.statistics]
        self._totals: list[Tensor] = []  # of each, [draws, metrics], where the log-weights are
        self._samples: dict[int, int] = {}
        self._zeros: dict[int, int] = {}
        self._bounds: dict[int, int] = {}

    def add(self, group: int, draws: range, log_w: Tensor) -> None:
        """Count log-weights ``[Bg, len(draws) M, K]``.

        Raises:
            NonFiniteError: one is NaN or +inf.
        """
        points = len(log_w)
        log_w = log_w.double() if log_w.shape[-1] <= AT_ONCE else log_w
        if not self._totals:
            sizes = [(self._draws, len(family.metrics)) for family, _ in self._families]
            self._totals = [torch.zeros(size, dtype=torch.float64, device=log_w.device) for size in sizes]
        for (family, statistics), total in zip(self._families, self._totals, strict=True):
            each = statistics(log_w).view(points, len(draws), -1, len(family.metrics))
            total[draws.start : draws.stop] += each.mean(dim=(0, 2))
        apart = log_w.view(points, len(draws), self._job.M, -1)
        bound = self._job.estimator.bound(apart)
        require_per_point(f"{self._job.estimator.name}.bound", bound, apart)
        wrong = (~(log_w < torch.inf)).flatten(1).sum(dim=1)  # NaN is below nothing
        zeros = (log_w == -torch.inf).flatten(1).sum(dim=1)
        lost = (~torch.isfinite(bound)).reshape(len(bound), -1).sum(dim=1)[:points]
        # All that is asked of a device at once, since every question waits for it.
        counted: list[list[int]] = torch.stack([wrong, zeros, lost]).tolist()
        self._count(group * points, log_w[0].numel(), *counted)

    def _count(self, first: int, samples: int, wrong: list[int], zeros: list[int], lost: list[int]) -> None:
        """Count of points from ``first`` on so many samples each, and which of them are what."""
        for point, found in enumerate(wrong, first):
            if found:
                problem = f"NaN or +inf at data point {point}, K={self._job.K}"
                raise NonFiniteError("log-weight", problem, _CHECK)
        for counts, numbers in ((self._samples, [samples] * len(zeros)), (self._zeros, zeros), (self._bounds, lost)):
            for point, number in enumerate(numbers, first):
                counts[point] = counts.get(point, 0) + number

    def statistics(self) -> list[tuple[Family, Array]]:
        """Of each family its statistics of each draw, mean over data points and M: ``[draws, metrics]``."""
        pairs = zip(self._families, self._totals, strict=True)
        return [(family, total.cpu().numpy() / self._groups) for (family, _), total in pairs]

    def plain(self) -> dict[str, Array]:
        """All that was counted, as arrays."""
        points = sorted(self._samples)
        counts = [[point, self._samples[point], self._zeros[point], self._bounds[point]] for point in points]
        totals = {f"total{number}": total.cpu().numpy() for number, total in enumerate(self._totals)}
        return {"counts": np.array(counts, dtype=np.int64), **totals}

    @classmethod
    def of(
        cls, plain: Mapping[str, Array], job: Job, groups: int, draws: int, families: Sequence[Family]
    ) -> Self | None:
        """The tally that ``plain`` gave; None where it is none of such draws. Arguments as for the class."""
        tally = cls(job, groups, draws, families)
        sizes = [(draws, len(family.metrics)) for family, _ in tally._families]
        totals = [plain.get(f"total{number}", np.empty(0)) for number in range(len(sizes))]
        counts = plain.get("counts", np.empty(0))
        if counts.ndim != 2 or counts.shape[1] != 4 or counts.dtype != np.int64 or (counts < 0).any():
            return None
        if [total.shape for total in totals] != sizes or any(total.dtype != np.float64 for total in totals):
            return None
        tally._totals = [torch.from_numpy(total) for total in totals]
        for point, samples, zeros, bounds in counts.tolist():
            tally._samples[point], tally._zeros[point], tally._bounds[point] = samples, zeros, bounds
        return tally

    def remark(self) -> str:
        """Where weights were zero, how often, and at which K; empty if none was."""
        found = {point: count for point, count in self._zeros.items() if count}
        if not found:
            return ""
        ranked = sorted(found, key=lambda point: -found[point] / self._samples[point])
        named = ", ".join(f"{_percent(found[p] / self._samples[p])} % at data point {p}" for p in ranked[:_NAMED])
        more = f" and fewer at {len(ranked) - _NAMED} more" if len(ranked) > _NAMED else ""
        return f"log p(x, z) is -inf in {named}{more} (K={self._job.K}, of {self._samples[ranked[0]]} samples each)"

    def require_bound(self) -> None:
        """See to it that the estimator's own bound is finite in every draw, for its gradient means nothing elsewhere.

        Raises:
            NonFiniteError: it is -inf in some.
        """
        lost = {point: count for point, count in self._bounds.items() if count}
        if lost:
            first = max(lost, key=lambda point: lost[point])
            what, where = f"{self._job.estimator.name}'s bound is", f"at K={self._job.K}"
            share, zeros = f"in {lost[first]} of {self._draws} draws at data point {first}", self.remark()
            if not zeros:
                raise NonFiniteError("bound", f"{what} not finite {where} {share}, of weights that are", "correct it")
            remedy = "take larger K of iwae, or give log_joint a density wherever the proposal samples"
            raise NonFiniteError("bound", f"{what} -inf {where}: {zeros}; {share}", remedy)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share > 0.1 else f"{100 * share:.2g}"
