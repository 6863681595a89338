"""MIWAE: an average of M IWAE gradients of K samples each."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.estimators.base import Estimator, Theory, Units, outer_units
from snrkit.estimators.iwae import Iwae


@dataclass(frozen=True)
class Miwae(Estimator):
    """(1/M) sum_m grad log (1/K) sum_k w_mk with M > 1 as a choice of its own (Rainforth et al. 2018, section 4).

    The same formula as ``iwae``: the name says that the budget T = M K was split on purpose.
    """

    name: ClassVar[str] = "miwae"

    def bound(self, log_w: Tensor) -> Tensor:
        """K-sample bound, mean over M."""
        return bounds.iwae(log_w)

    def units(self, M: int, K: int) -> tuple[Units, Units]:
        """M iwae units of K samples."""
        return outer_units(Iwae(), M, K)

    @property
    def theory(self) -> Theory:
        """As for ``iwae``."""
        return Theory((0.5, -0.5), (0.5, 0.5), "the K-sample bound", "Rainforth et al. 2018, theorem 1")
