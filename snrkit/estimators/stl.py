"""STL: sticking the landing, the path derivative with importance weights."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, normalised
from snrkit.core.objective import Needs, Term, apart
from snrkit.estimators.base import Estimator, Theory


@dataclass(frozen=True)
class Stl(Estimator):
    """phi: sum_k w~_k G_k, with G_k the path derivative of log w_k; theta: as iwae (Roeder et al. 2017).

    For K > 1 its phi gradient is biased (Tucker et al. 2018).
    """

    name: ClassVar[str] = "stl"
    needs: ClassVar[Needs] = Needs(path=True, own_inference=True)
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
        return Theory((0.5, 0.5), (0.5, 0.5), "phi: nothing for K > 1; theta: the K-sample bound", "Tucker et al. 2018")


def _path(weights: LogWeights) -> Tensor:
    """Weights are constants here; only the path through z is differentiated."""
    constant = normalised(weights.log_w.detach())
    return (constant * weights.log_w_path).sum(dim=-1).mean(dim=-1)
