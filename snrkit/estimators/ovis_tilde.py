"""OVIS~: the score function of the K-sample bound, with the asymptotic form of the best baseline."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core.logweights import log_rest, normalised
from snrkit.core.objective import Needs
from snrkit.estimators.base import Theory, option
from snrkit.estimators.score import LEFT_OUT, ScoreFunction


@dataclass(frozen=True)
class OvisTilde(ScoreFunction):
    """phi: sum_k (gamma log(1 - 1/K) - log(1 - w~_k) - (1 - gamma) w~_k) h_k; theta: as iwae (Lievin et al. 2020, eq. 17).

    h_k is the score. At gamma = 0 the signal is that of vimco with the arithmetic mean, less a constant, and as unbiased. At
    any other it is biased: at gamma = 1 its mean tends to that of rws, the direction that descends KL(p, q).

    Attributes:
        gamma: 0 suits an effective sample size of about 1, 1 a large one.
    """

    name: ClassVar[str] = "ovis-tilde"
    needs: ClassVar[Needs] = LEFT_OUT
    gamma: float = option(0.0, low=0, high=1)

    @property
    def unbiased(self) -> tuple[bool, bool]:  # type: ignore[override]
        """In the inference network at gamma = 0 only."""
        return self.gamma == 0, True

    def signal(self, log_w: Tensor) -> Tensor:
        """gamma log(1 - 1/K) - log(1 - w~_k) - (1 - gamma) w~_k."""
        constant = self.gamma * math.log1p(-1 / log_w.shape[-1])
        return constant - log_rest(log_w) - (1 - self.gamma) * normalised(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        whole = "the K-sample bound"
        phi = whole if self.gamma == 0 else "phi: nothing (tends to rws at gamma = 1); theta: the K-sample bound"
        return Theory((0.5, 0.5), (0.5, 0.5), phi, "Lievin et al. 2020")
