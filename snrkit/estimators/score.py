"""What the score-function estimators of the K-sample bound have in common: they need no path through z."""

from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

from torch import Tensor

from snrkit.core import bounds
from snrkit.core.logweights import LogWeights
from snrkit.core.objective import Needs, Term, apart
from snrkit.estimators.base import Estimator

SCORE = Needs(reparameterised=False, path=True, separate_networks=True)
# Where a sample's baseline is made of the others.
LEFT_OUT = replace(SCORE, least_samples=2)


class ScoreFunction(Estimator):
    """phi: sum_k s_k h_k, with h_k = grad log q(z_k|x) at fixed z_k and constant signals s_k; theta: as iwae.

    It is right for discrete z.
    """

    needs: ClassVar[Needs] = SCORE
    reference: ClassVar[str | None] = "iwae"

    @abstractmethod
    def signal(self, log_w: Tensor) -> Tensor:
        """s_k, of log-weights without graph: ``[..., M, K]`` to the same."""

    def terms(self) -> tuple[Term, ...]:
        """Each network its own, on the same samples."""
        return apart(inference=self._scored, generative=self.own_bound)

    def bound(self, log_w: Tensor) -> Tensor:
        """K-sample bound, mean over M."""
        return bounds.iwae(log_w)

    def _scored(self, weights: LogWeights) -> Tensor:
        return scored(self.signal(weights.log_w.detach()), weights)


def scored(signal: Tensor, weights: LogWeights) -> Tensor:
    """sum_k s_k h_k as what is differentiated, mean over M: constant signals ``[..., M, K]`` to ``[...]``."""
    return (signal * weights.log_q_score).sum(dim=-1).mean(dim=-1)


def dreamt(weights: LogWeights) -> Tensor:
    """Mean of log q(z|x) over the model's own samples, ``[..., B]``: what a sleep phase ascends.

    Raises:
        CapabilityError: the weights were made without dreams.
    """
    return weights.part("log_q_sleep").mean(dim=(-2, -1))
