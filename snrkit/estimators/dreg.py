"""DReG: the doubly reparameterised gradient of the K-sample bound."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, normalised
from snrkit.estimators.base import Estimator, Surrogate, Theory, Units, outer_units


@dataclass(frozen=True)
class Dreg(Estimator):
    """phi: sum_k w~_k^2 G_k, with G_k the path derivative of log w_k; theta: as iwae (Tucker et al. 2018, eq. 8)."""

    name: ClassVar[str] = "dreg"
    path: ClassVar[bool] = True
    reference: ClassVar[str | None] = "iwae"
    separate_networks: ClassVar[bool] = True

    def surrogate(self, weights: LogWeights) -> Surrogate:
        """Weights are constants here; only the path through z is differentiated for phi."""
        squared = normalised(weights.log_w.detach()).square()
        phi = (squared * weights.log_w_path).sum(dim=-1).mean(dim=-1)
        return Surrogate(theta=bounds.iwae(weights.log_w), phi=phi)

    def bound(self, log_w: Tensor) -> Tensor:
        """K-sample bound, mean over M."""
        return bounds.iwae(log_w)

    def units(self, M: int, K: int) -> tuple[Units, Units]:
        """M units of K samples."""
        return outer_units(self, M, K)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        return Theory((0.5, 0.5), (0.5, 0.5), "the K-sample bound", "Tucker et al. 2018")
