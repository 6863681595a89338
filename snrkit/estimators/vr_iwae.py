"""VR-IWAE: a bound between the ELBO and the K-sample bound, with tempered weights."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, normalised
from snrkit.core.objective import Needs, Term, apart, both
from snrkit.estimators.base import Estimator, Theory, option

_SOURCE = "Daudel, Benton, Shi & Doucet 2023"


@dataclass(frozen=True)
class VrIwae(Estimator):
    """grad 1/(1 - alpha) log (1/K) sum_k w_k^(1 - alpha), both networks (Daudel et al. 2023).

    With v_k ~ w_k^(1 - alpha), normalised, it is sum_k v_k grad log w_k. ``detached`` has the doubly reparameterised
    gradient in phi, sum_k (alpha v_k + (1 - alpha) v_k^2) G_k with G_k the path derivative of log w_k, which has the same
    mean. alpha = 0 is ``iwae``, or ``dreg``; towards 1 the bound is the ELBO.

    Attributes:
        alpha: order of the bound, 0 to below 1.
        detached: 1: the doubly reparameterised gradient in the inference network; 0: the plain one.
    """

    name: ClassVar[str] = "vr-iwae"
    alpha: float = option(
        0.5, low=0, high=1, without={1: "choose vae, or stl for detached=1: their weights are its limit"}
    )
    detached: float = option(0, low=0, high=1, whole=True)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Of the detached one, the path."""
        return Needs(path=True, own_inference=True) if self.detached else Needs()

    @property
    def same_bound(self) -> Estimator | None:
        """The plain one of the same order."""
        return VrIwae(self.alpha) if self.detached else None

    def bound(self, log_w: Tensor) -> Tensor:
        """The bound of order alpha, mean over M."""
        order = 1 - self.alpha
        return bounds.iwae(order * log_w) / order

    def terms(self) -> tuple[Term, ...]:
        """The bound for both, or each network its own."""
        return apart(inference=self._path, generative=self.own_bound) if self.detached else both(self.own_bound)

    def _path(self, weights: LogWeights) -> Tensor:
        """Weights are constants here; only the path through z is differentiated."""
        v = normalised((1 - self.alpha) * weights.log_w.detach())
        constant = self.alpha * v + (1 - self.alpha) * v.square()
        return (constant * weights.log_w_path).sum(dim=-1).mean(dim=-1)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks, but for phi of the plain one at alpha = 0, which is IWAE."""
        phi = (0.5, 0.5) if self.detached or self.alpha else (0.5, -0.5)
        return Theory(phi, (0.5, 0.5), "the VR-IWAE bound of order alpha", _SOURCE)
