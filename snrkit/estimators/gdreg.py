"""GDReG: the doubly reparameterised gradient of the K-sample bound, in the prior's parameters too."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, normalised
from snrkit.core.objective import Needs, Term, apart
from snrkit.estimators.base import Estimator, Theory


@dataclass(frozen=True)
class Gdreg(Estimator):
    """phi: as dreg. theta: sum_k w~_k grad log p(x|z_k), the prior's parameters apart (Bauer & Mnih 2021).

    These act through z~_k = T(T^-1(z_k)), the sample as the prior would draw it, T^-1 and all densities' parameters held
    constant: sum_k [w~_k grad log p(x|z~_k) - w~_k^2 grad log w(z~_k)]. Both have the mean of ``iwae``. A prior
    of several layers is drawn from the top downwards.
    """

    name: ClassVar[str] = "gdreg"
    needs: ClassVar[Needs] = Needs(path=True, separate_networks=True, regenerated=True)
    reference: ClassVar[str | None] = "iwae"

    def terms(self) -> tuple[Term, ...]:
        """Each network its own, on the same samples."""
        return apart(inference=_proposal, generative=_model)

    def bound(self, log_w: Tensor) -> Tensor:
        """K-sample bound, mean over M."""
        return bounds.iwae(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        source = "Bauer & Mnih 2021 (the gradient); rates by expansion in 1/K, measured in analyses/estimators"
        return Theory((0.5, 0.5), (0.5, 0.5), "the K-sample bound", source)


def _proposal(weights: LogWeights) -> Tensor:
    """Weights are constants here; only the path through z is differentiated."""
    constant = normalised(weights.log_w.detach()).square()
    return (constant * weights.log_w_path).sum(dim=-1).mean(dim=-1)


def _model(weights: LogWeights) -> Tensor:
    """Weights are constants here too; the prior's parameters are in samples made anew, and nowhere else."""
    constant = normalised(weights.log_w.detach())
    likelihood = constant * (weights.log_lik + weights.part("log_lik_again"))
    return (likelihood - constant.square() * weights.part("log_w_again")).sum(dim=-1).mean(dim=-1)
