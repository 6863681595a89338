"""PIWAE: a looser bound for the inference network than for the generative network."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, pooled
from snrkit.core.objective import Term, apart
from snrkit.estimators.base import Estimator, Theory, Units
from snrkit.estimators.iwae import Iwae


@dataclass(frozen=True)
class Piwae(Estimator):
    """phi: MIWAE(M, L); theta: IWAE(K = M L), from the same M L samples (Rainforth et al. 2018, section 4).

    Everywhere in this package L is the number K of importance samples per outer sample.
    """

    name: ClassVar[str] = "piwae"

    def terms(self) -> tuple[Term, ...]:
        """The generative network sees all samples as one group, the inference network sees M groups."""
        return apart(inference=_groups, generative=self.own_bound)

    def bound(self, log_w: Tensor) -> Tensor:
        """The generative network's bound, with M L samples."""
        return bounds.iwae(pooled(log_w))

    def units(self, M: int, K: int) -> tuple[Units, Units]:
        """phi: M iwae units of L samples; theta: one of M L samples."""
        return Units(Iwae(), K, M), Units(Iwae(), M * K, 1)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M/L)^(1/2) in the inference network, (M L)^(1/2) in the generative network."""
        source = "Rainforth et al. 2018, section 4"
        return Theory((0.5, -0.5), (0.5, 0.5), "phi: the L-sample bound; theta: the M L-sample bound", source)


def _groups(weights: LogWeights) -> Tensor:
    return bounds.iwae(weights.log_w)
