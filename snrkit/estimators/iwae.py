"""IWAE: the gradient of the K-sample bound."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.estimators.base import Estimator, Theory


@dataclass(frozen=True)
class Iwae(Estimator):
    """(1/M) sum_m grad log (1/K) sum_k w_mk, both networks (Burda et al. 2016; Rainforth et al. 2018, eq. 11)."""

    name: ClassVar[str] = "iwae"

    def bound(self, log_w: Tensor) -> Tensor:
        """K-sample bound, mean over M."""
        return bounds.iwae(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M/K)^(1/2) in the inference network, (M K)^(1/2) in the generative network."""
        return Theory((0.5, -0.5), (0.5, 0.5), "the K-sample bound", "Rainforth et al. 2018, theorem 1")
