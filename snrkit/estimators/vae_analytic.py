"""VAE with the KL divergence in closed form, which is the loss that most people train."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Needs, Term, both
from snrkit.estimators.base import Estimator, Theory, build_estimator, option


@dataclass(frozen=True)
class VaeAnalytic(Estimator):
    """grad [mean over all M K samples of log p(x|z) - beta KL(q(z|x), p(z))], both networks (Kingma & Welling 2014, eq. 7).

    With beta = 1 its mean is that of ``vae``, with less noise where the KL has a share in it; other beta are the beta-VAE's
    (Higgins et al. 2017). What is reported is the ELBO of the samples, beta = 1.

    Attributes:
        beta: weight of the KL divergence.
    """

    name: ClassVar[str] = "vae-analytic"
    needs: ClassVar[Needs] = Needs(prior=True, kl=True)
    beta: float = option(1.0, low=0)

    @property
    def same_bound(self) -> Estimator | None:
        """At ``beta`` = 1, vae; at others what estimates the same objective by samples."""
        return build_estimator("vae", {}) if self.beta == 1 else build_estimator("vae-annealed", {"kl": self.beta})

    def terms(self) -> tuple[Term, ...]:
        """The objective, for both."""
        return both(self._objective)

    def bound(self, log_w: Tensor) -> Tensor:
        """ELBO of the samples."""
        return bounds.elbo(log_w)

    def _objective(self, weights: LogWeights) -> Tensor:
        return (weights.log_lik - self.beta * weights.part("kl")).mean(dim=(-2, -1))

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks: an average of M K independent terms."""
        return Theory((0.5, 0.5), (0.5, 0.5), "the ELBO with its KL times beta", "an average of M K independent terms")
