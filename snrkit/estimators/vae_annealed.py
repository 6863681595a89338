"""VAE with a weight on its KL term, which training may raise from 0 to 1."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Needs, Term, both
from snrkit.estimators.base import Estimator, Theory, build_estimator, option


@dataclass(frozen=True)
class VaeAnnealed(Estimator):
    """Mean over all M K samples of grad [log p(x|z) + kl (log p(z) - log q(z|x))], both networks (Bowman et al. 2016).

    What is reported is the ELBO, ``kl`` = 1, whatever ``kl`` is: below 1 the objective is no bound of log p(x). Above 1 it
    is the beta-VAE's (Higgins et al. 2017).

    Attributes:
        kl: weight of the KL term.
    """

    name: ClassVar[str] = "vae-annealed"
    needs: ClassVar[Needs] = Needs(prior=True)
    kl: float = option(1.0, low=0)

    @property
    def same_bound(self) -> Estimator | None:
        """At ``kl`` = 1, vae."""
        return build_estimator("vae", {}) if self.kl == 1 else None

    def terms(self) -> tuple[Term, ...]:
        """The weighted objective, for both."""
        return both(self._weighted)

    def bound(self, log_w: Tensor) -> Tensor:
        """ELBO."""
        return bounds.elbo(log_w)

    def _weighted(self, weights: LogWeights) -> Tensor:
        divergence = weights.log_q - weights.part("log_prior")
        return (weights.log_lik - self.kl * divergence).mean(dim=(-2, -1))

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks: an average of M K independent terms."""
        return Theory((0.5, 0.5), (0.5, 0.5), "the ELBO with its KL times kl", "an average of M K independent terms")
