"""RWS-DReG: reweighted wake-sleep with the path derivative in place of the score."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, normalised
from snrkit.core.objective import Needs, Term, apart
from snrkit.estimators.base import Estimator, Theory


@dataclass(frozen=True)
class RwsDreg(Estimator):
    """phi: sum_k (w~_k - w~_k^2) G_k, with G_k the path derivative of log w_k; theta: as iwae (Tucker et al. 2018).

    The same mean as rws at every K, with a fraction of its variance. With dreg it adds up to stl.
    """

    name: ClassVar[str] = "rws-dreg"
    needs: ClassVar[Needs] = Needs(path=True, own_inference=True, least_samples=2)
    reference: ClassVar[str | None] = "iwae"
    unbiased: ClassVar[tuple[bool, bool]] = (False, True)

    def terms(self) -> tuple[Term, ...]:
        """Each network its own, on the same samples."""
        return apart(inference=_path, generative=self.own_bound)

    def bound(self, log_w: Tensor) -> Tensor:
        """K-sample bound, mean over M."""
        return bounds.iwae(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        bound = "phi: nothing (tends to -KL(p, q)); theta: the K-sample bound"
        return Theory((0.5, 0.5), (0.5, 0.5), bound, "Tucker et al. 2018; the rate is derived here")


def _path(weights: LogWeights) -> Tensor:
    """Weights are constants here; only the path through z is differentiated."""
    share = normalised(weights.log_w.detach())
    return ((share - share.square()) * weights.log_w_path).sum(dim=-1).mean(dim=-1)
