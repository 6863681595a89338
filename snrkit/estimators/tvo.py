"""TVO: the thermodynamic variational objective, by covariances under self-normalised weights."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snrkit.core.logweights import LogWeights, normalised
from snrkit.core.objective import Needs, Term, apart
from snrkit.estimators.base import Estimator, Theory, build_estimator, option
from snrkit.estimators.score import LEFT_OUT, scored

_BETWEEN = "give for example first=0.05; intervals=1 is the ELBO"


@dataclass(frozen=True)
class Tvo(Estimator):
    """Gradient of the left Riemann sum of the integral over beta in [0, 1] of E_beta[log w] (Masrani et al. 2019).

    E_beta is under p^beta q^(1-beta). With v_k proportional to w_k^beta and c_k = K/(K-1) v_k (log w_k - sum_j v_j log w_j),
    h_k the score, summed over intervals of width d: phi: d sum_k ((1 - beta) c_k - v_k) h_k; theta: d sum_k (v_k + beta c_k)
    grad log p(x, z_k). At beta = 0 the part -v_k, whose mean is 0, is left out.

    Weights are self-normalised, so that its mean is off by order 1/K; with one interval it is the gradient of the ELBO, and
    exactly so.

    Attributes:
        intervals: of beta; the first begins at 0.
        first: where the second begins; further ones lie evenly in log beta between it and 1.
    """

    name: ClassVar[str] = "tvo"
    needs: ClassVar[Needs] = LEFT_OUT
    intervals: float = option(5, low=1, whole=True)
    first: float = option(0.05, low=0, high=1, without={0: _BETWEEN, 1: _BETWEEN})

    @property
    def same_bound(self) -> Estimator | None:
        """One interval is the ELBO."""
        return build_estimator("vae", {}) if self.intervals == 1 else None

    @property
    def unbiased(self) -> tuple[bool, bool]:  # type: ignore[override]
        """With one interval only."""
        return self.intervals == 1, self.intervals == 1

    def pieces(self) -> Iterator[tuple[float, float]]:
        """(beta, width) of each interval."""
        inner = int(self.intervals) - 1
        ends = [0.0, *(self.first ** (1 - i / inner) for i in range(inner)), 1.0]
        return ((low, high - low) for low, high in itertools.pairwise(ends))

    def bound(self, log_w: Tensor) -> Tensor:
        """The sum over intervals of d sum_k v_k log w_k, mean over M."""
        per_group = [width * (_weights(beta, log_w) * log_w).sum(dim=-1) for beta, width in self.pieces()]
        return torch.stack(per_group).sum(dim=0).mean(dim=-1)

    def terms(self) -> tuple[Term, ...]:
        """Each network its own, on the same samples."""
        return apart(inference=self._scored, generative=self._weighted)

    def _scored(self, weights: LogWeights) -> Tensor:
        log_w = weights.log_w.detach()
        signal = torch.zeros_like(log_w)
        for beta, width in self.pieces():
            signal = signal + width * (1 - beta) * _covariances(beta, log_w)
            signal = signal - width * _weights(beta, log_w) if beta else signal
        return scored(signal, weights)

    def _weighted(self, weights: LogWeights) -> Tensor:
        log_w = weights.log_w.detach()
        each = [width * (_weights(beta, log_w) + beta * _covariances(beta, log_w)) for beta, width in self.pieces()]
        return (torch.stack(each).sum(dim=0) * weights.log_p).sum(dim=-1).mean(dim=-1)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        bound = "ELBO" if self.intervals == 1 else "nothing (the Riemann sum, but for order 1/K)"
        return Theory((0.5, 0.5), (0.5, 0.5), bound, "Masrani et al. 2019; the rate is derived here")


def _weights(beta: float, log_w: Tensor) -> Tensor:
    """v_k proportional to w_k^beta, ``[..., M, K]``."""
    return normalised(beta * log_w) if beta else torch.full_like(log_w, 1 / log_w.shape[-1])


def _covariances(beta: float, log_w: Tensor) -> Tensor:
    """c_k, whose products with f_k sum to the covariance of log w and f: ``[..., M, K]``."""
    own, K = _weights(beta, log_w), log_w.shape[-1]
    return own * (log_w - (own * log_w).sum(dim=-1, keepdim=True)) * (K / (K - 1))
