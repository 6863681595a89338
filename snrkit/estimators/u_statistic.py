"""U-statistic: the bound of few samples, averaged over overlapping batches of many."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snrkit.core.logweights import log_mean_exp
from snrkit.errors import SpecError
from snrkit.estimators.base import Estimator, Theory, option


@dataclass(frozen=True)
class UStatistic(Estimator):
    """grad of the mean over overlapping batches of ``inner`` of the K samples of log-mean-exp (Burroni et al. 2023).

    The samples are a table of K/inner rows and ``inner`` columns; batch r of shift s takes from each column c the row
    (r + s c) mod K/inner. Shift 0 are the disjoint groups of ``miwae`` with M = K/inner, so the mean is that of the
    ``inner``-sample bound; the variance is between that of ``miwae`` and that of all subsets. Shifts from K/inner on would
    be earlier ones again, and are left out.

    Attributes:
        inner: samples to a batch; K is a multiple of it.
        shifts: how often the table is cut into batches.
    """

    name: ClassVar[str] = "u-statistic"
    inner: int = option(8, low=1, whole=True)
    shifts: int = option(4, low=1, whole=True)

    @property
    def few_samples(self) -> tuple[int, int]:
        """One batch, and two."""
        return int(self.inner), 2 * int(self.inner)

    def require_samples(self, K: int) -> None:
        """See to it that K is a multiple of ``inner``.

        Raises:
            SpecError: it is not.
        """
        inner = int(self.inner)
        if K % inner:
            near = max(round(K / inner), 1) * inner
            problem = f"{self.name} cuts K samples into batches of {inner}, got {K}"
            raise SpecError("K", problem, f"give a multiple, say K={near}, or another estimator.options.inner")

    def bound(self, log_w: Tensor) -> Tensor:
        """The mean over batches, and over M."""
        inner = int(self.inner)
        self.require_samples(log_w.shape[-1])
        table = log_w.reshape(*log_w.shape[:-1], -1, inner)
        rows, columns = torch.arange(table.shape[-2], device=log_w.device), torch.arange(inner, device=log_w.device)
        cuts = range(min(int(self.shifts), len(rows)))
        found = [log_mean_exp(table[..., (rows[:, None] + s * columns) % len(rows), columns]) for s in cuts]
        return torch.stack(found).mean(dim=(0, -2, -1))

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks at fixed ``inner``: an average over batches."""
        return Theory((0.5, 0.5), (0.5, 0.5), "the inner-sample bound", "Burroni et al. 2023; a mean of batches")
