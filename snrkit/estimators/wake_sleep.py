"""Wake-sleep: the generative network learns from data, the inference network from dreams."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Needs, Term, apart
from snrkit.estimators.base import Estimator, Theory
from snrkit.estimators.score import dreamt


@dataclass(frozen=True)
class WakeSleep(Estimator):
    """phi: mean of grad log q(z'|x') over (x', z') ~ p; theta: mean of grad log p(x, z_k), z_k ~ q (Hinton et al. 1995).

    phi descends the mean over the model's own x of KL(p(z|x), q(z|x)), which is no bound of the data's; theta ascends their
    ELBO. Both means are over M K samples.
    """

    name: ClassVar[str] = "wake-sleep"
    needs: ClassVar[Needs] = Needs(reparameterised=False, separate_networks=True, sleep=True)
    reference: ClassVar[str | None] = "vae"
    unbiased: ClassVar[tuple[bool, bool]] = (False, True)

    def terms(self) -> tuple[Term, ...]:
        """Dreams for the inference network, the proposal's samples for the generative one."""
        return apart(inference=dreamt, generative=_wake)

    def bound(self, log_w: Tensor) -> Tensor:
        """ELBO."""
        return bounds.elbo(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks: an average of M K independent terms."""
        bound = "phi: -KL(p, q) over the model's x; theta: ELBO"
        return Theory((0.5, 0.5), (0.5, 0.5), bound, "Hinton et al. 1995; the rate is derived here")


def _wake(weights: LogWeights) -> Tensor:
    return weights.log_p.mean(dim=(-2, -1))
