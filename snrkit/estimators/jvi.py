"""JVI: the K-sample bound with its first-order bias taken away by the jackknife."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snrkit.core.logweights import LogWeights, log_mean_exp, log_others
from snrkit.core.objective import Needs, Term, apart, both
from snrkit.estimators.base import Estimator, Theory, option


@dataclass(frozen=True)
class Jvi(Estimator):
    """grad of K L_K - ((K - 1)/K) sum_i L_(K-1)^(-i), both networks, where ^(-i) leaves sample i out (Nowozin 2018, m = 1).

    Its value is nearer to log p(x) than L_K, by O(1/K), and no lower bound of it. With ``dreg`` each of the K + 1 bounds has
    its doubly reparameterised gradient in phi: sum_k [K w~_k^2 - ((K - 1)/K) sum_(i != k) (w_k/(S - w_i))^2] G_k, where
    S = sum_j w_j and G_k is the path derivative of log w_k. That has the same mean.

    Attributes:
        dreg: 1: the doubly reparameterised gradient in the inference network; 0: the plain one.
    """

    name: ClassVar[str] = "jvi"
    dreg: float = option(0, low=0, high=1, whole=True)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """Two samples, of which one is left; with ``dreg`` the path."""
        doubly = bool(self.dreg)
        return Needs(least_samples=2, path=doubly, own_inference=doubly)

    @property
    def same_bound(self) -> Estimator | None:
        """The plain one."""
        return Jvi() if self.dreg else None

    def bound(self, log_w: Tensor) -> Tensor:
        """The jackknife's estimate of log p(x), mean over M; no lower bound."""
        K = log_w.shape[-1]
        left = log_others(log_w).mean(dim=-1) - math.log(K - 1)
        return (K * log_mean_exp(log_w) - (K - 1) * left).mean(dim=-1)

    def terms(self) -> tuple[Term, ...]:
        """The bound for both, or each network its own."""
        return apart(inference=_path, generative=self.own_bound) if self.dreg else both(self.own_bound)

    @property
    def theory(self) -> Theory:
        """phi: M^(1/2) K^(-3/2) of the plain one, (M K)^(1/2) with ``dreg``; theta: (M K)^(1/2).

        The jackknife takes the O(1/K) of the mean away and leaves the O(K^(-1/2)) of the noise.
        """
        phi = (0.5, 0.5) if self.dreg else (0.5, -1.5)
        source = "Nowozin 2018 (the bound); rates by expansion in 1/K, measured in analyses/estimators"
        return Theory(phi, (0.5, 0.5), "the jackknife estimate of log p(x)", source)


def _path(weights: LogWeights) -> Tensor:
    """Weights are constants here; only the path through z is differentiated."""
    log_w = weights.log_w.detach()
    K = log_w.shape[-1]
    squares = 2 * torch.log_softmax(log_w, dim=-1)
    # sum over i != k of (w_k / (S - w_i))^2 <= K - 1: in logarithms, since S - w_i vanishes where one weight dominates.
    left = 2 * log_w + log_others(-2 * log_others(log_w))
    constant = K * squares.exp() - (K - 1) / K * left.exp()
    return (constant * weights.log_w_path).sum(dim=-1).mean(dim=-1)
