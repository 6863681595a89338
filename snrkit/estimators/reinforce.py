"""REINFORCE: the score function of the K-sample bound, without a baseline."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core.logweights import log_mean_exp, normalised
from snrkit.estimators.base import Theory
from snrkit.estimators.score import ScoreFunction


@dataclass(frozen=True)
class Reinforce(ScoreFunction):
    """phi: sum_k (log Z^ - w~_k) h_k, with Z^ the mean weight and h_k the score; theta: as iwae (Williams 1992).

    The K-sample bound's whole derivative where z has no path: its value times the scores, and what it has of log q itself.
    """

    name: ClassVar[str] = "reinforce"

    def signal(self, log_w: Tensor) -> Tensor:
        """log Z^ - w~_k."""
        return log_mean_exp(log_w)[..., None] - normalised(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ M^(1/2) K^(-3/2) in the inference network, (M K)^(1/2) in the generative network.

        The mean falls as 1/K; log p(x) times the sum of K scores, whose mean is 0, has a standard deviation of K^(1/2).
        """
        return Theory((0.5, -1.5), (0.5, 0.5), "the K-sample bound", "Williams 1992; the rate is derived here")
