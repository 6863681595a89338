"""CIWAE: a convex combination of the ELBO and the K-sample bound."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.estimators.base import Estimator, Theory, option


@dataclass(frozen=True)
class Ciwae(Estimator):
    """beta VAE + (1 - beta) IWAE on the same samples, both networks (Rainforth et al. 2018, section 4).

    A beta is set within [0, 1], where the combination is convex. Outside, which is where one that is learnt without
    constraint ends up, this is no lower bound of log p(x).

    Attributes:
        beta: weight of the ELBO.
    """

    name: ClassVar[str] = "ciwae"
    beta: float = option(0.5, low=0, high=1, learnable=True)

    def bound(self, log_w: Tensor) -> Tensor:
        """The combined bound."""
        return bounds.ciwae(log_w, self.beta)

    def slope(self, name: str, log_w: Tensor) -> Tensor:  # noqa: ARG002 (there is one)
        """ELBO - (K-sample bound), whatever beta is."""
        return bounds.elbo(log_w) - bounds.iwae(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks for any fixed beta but 0, at which it is IWAE."""
        phi = (0.5, 0.5) if self.beta else (0.5, -0.5)
        return Theory(phi, (0.5, 0.5), "beta ELBO + (1 - beta) K-sample bound", "Rainforth et al. 2018, section 4")
