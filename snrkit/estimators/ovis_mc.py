"""OVIS-MC: the score function of a multi-sample bound, with a baseline drawn from auxiliary samples."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from snrkit.core.logweights import log_others
from snrkit.core.objective import Needs
from snrkit.estimators.base import Theory, option
from snrkit.estimators.score import SCORE, ScoreFunction


@dataclass(frozen=True)
class OvisMc(ScoreFunction):
    """phi: sum (d_k - c_k) h_k over the first n = K - S samples; theta: as iwae, of all K (Lievin et al. 2020, eq. 12).

    h_k is the score, d_k = log Z^_n - w~_k, and c_k is the mean of d_k with z_k replaced by each of the last S samples. So
    phi's mean is the gradient of the (K - S)-sample bound. Samples are not exchangeable.

    Attributes:
        S: auxiliary samples, of the K.
    """

    name: ClassVar[str] = "ovis-mc"
    unbiased: ClassVar[tuple[bool, bool]] = (False, True)
    S: float = option(1, low=1, whole=True)

    @property
    def needs(self) -> Needs:  # type: ignore[override]
        """At least two samples beside the auxiliary ones."""
        return replace(SCORE, least_samples=int(self.S) + 2)

    def signal(self, log_w: Tensor) -> Tensor:
        """d_k - c_k; 0 for the auxiliary samples."""
        K, S = log_w.shape[-1], int(self.S)
        own, auxiliary = log_w[..., : K - S], log_w[..., None, K - S :]
        replaced = torch.logaddexp(log_others(own)[..., None], auxiliary)  # [..., n, S]
        found = _learning(torch.logsumexp(own, -1, keepdim=True), own, K - S)
        baseline = _learning(replaced, auxiliary, K - S).mean(dim=-1)
        return torch.cat([found - baseline, torch.zeros_like(log_w[..., K - S :])], dim=-1)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M K)^(1/2) in both networks."""
        bound = "phi: the (K - S)-sample bound; theta: the K-sample bound"
        return Theory((0.5, 0.5), (0.5, 0.5), bound, "Lievin et al. 2020")


def _learning(log_sum: Tensor, own: Tensor, count: int) -> Tensor:
    """log Z^ - w~ of a sum of ``count`` weights, one of which is ``own``."""
    return log_sum - math.log(count) - (own - log_sum).exp()
