"""Tempered importance weights: between the ELBO and the K-sample bound."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.errors import SpecError
from snrkit.estimators.base import Estimator, Theory


@dataclass(frozen=True)
class Tempered(Estimator):
    """Both networks ascend (1/p) log (1/K) sum_k w_k^p (Li & Turner 2016, with alpha = 1 - p).

    Attributes:
        power: p in (0, 1); towards 0 this is the ELBO, at 1 it would be the K-sample bound.

    Raises:
        SpecError: power outside (0, 1).
    """

    name: ClassVar[str] = "tempered"
    power: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.power < 1:
            raise SpecError("estimator.options.power", f"must lie in (0, 1), got {self.power}", "give for example 0.5")

    def bound(self, log_w: Tensor) -> Tensor:
        """The bound, which both networks ascend unless ``terms`` says otherwise: ``[..., B, M, K]`` to ``[..., B]``."""
        return bounds.iwae(self.power * log_w) / self.power

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks: at p < 1 the optimum of q is not a stationary point of every sample."""
        return Theory((0.5, 0.5), (0.5, 0.5), "the tempered bound", "Li & Turner 2016")
