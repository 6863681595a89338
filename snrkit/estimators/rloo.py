"""RLOO: the score function of the ELBO, with the mean of the other samples as each one's baseline."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.objective import Needs
from snrkit.estimators.base import Theory
from snrkit.estimators.score import LEFT_OUT, ScoreFunction


@dataclass(frozen=True)
class Rloo(ScoreFunction):
    """phi: (1/(K-1)) sum_k (log w_k - mean_j log w_j) h_k, with h_k the score; theta: as vae (Kool et al. 2019).

    The gradient of the ELBO by K samples, not that of the K-sample bound.
    """

    name: ClassVar[str] = "rloo"
    needs: ClassVar[Needs] = LEFT_OUT
    reference: ClassVar[str | None] = "vae"

    def bound(self, log_w: Tensor) -> Tensor:
        """ELBO."""
        return bounds.elbo(log_w)

    def signal(self, log_w: Tensor) -> Tensor:
        """(log w_k - mean_j log w_j) / (K - 1)."""
        return (log_w - log_w.mean(dim=-1, keepdim=True)) / (log_w.shape[-1] - 1)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        return Theory((0.5, 0.5), (0.5, 0.5), "ELBO", "Kool et al. 2019; the rate is derived here")
