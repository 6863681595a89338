"""CIWAE: a convex combination of the ELBO and the K-sample bound."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.errors import SpecError
from snrkit.estimators.base import Estimator, Theory


@dataclass(frozen=True)
class Mixture(Estimator):
    """beta VAE + (1 - beta) IWAE on the same samples, both networks, for any real beta.

    Outside [0, 1] this is no lower bound of log p(x): it is what a beta learnt without constraint ends up with.

    Attributes:
        beta: weight of the ELBO.
    """

    name: ClassVar[str] = "ciwae"
    beta: float = 0.5

    def bound(self, log_w: Tensor) -> Tensor:
        """The combined bound."""
        return bounds.ciwae(log_w, self.beta)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks for fixed beta > 0; at beta = 0 it is IWAE."""
        phi = (0.5, 0.5) if self.beta > 0 else (0.5, -0.5)
        return Theory(phi, (0.5, 0.5), "beta ELBO + (1 - beta) K-sample bound", "Rainforth et al. 2018, section 4")


@dataclass(frozen=True)
class Ciwae(Mixture):
    """The convex combination (Rainforth et al. 2018, section 4): beta in [0, 1].

    Raises:
        SpecError: beta outside [0, 1].
    """

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise SpecError(
                "estimator.options.beta", f"must lie in [0, 1], got {self.beta}", "give for example beta=0.5"
            )
