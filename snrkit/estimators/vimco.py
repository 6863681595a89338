"""VIMCO: the score function of the K-sample bound, with a baseline for each sample made of the others."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snrkit.core.logweights import log_mean_exp, log_others, normalised
from snrkit.core.objective import Needs
from snrkit.estimators.base import Theory, option
from snrkit.estimators.score import LEFT_OUT, ScoreFunction


@dataclass(frozen=True)
class Vimco(ScoreFunction):
    """phi: sum_k (log Z^ - log Z^_[k] - w~_k) h_k, with h_k the score; theta: as iwae (Mnih & Rezende 2016).

    Z^_[k] is the mean weight with a mean of the other K - 1 weights in place of w_k.

    Attributes:
        geometric: 1: the geometric mean, as in the paper; 0: the arithmetic one.
    """

    name: ClassVar[str] = "vimco"
    needs: ClassVar[Needs] = LEFT_OUT
    geometric: float = option(1, low=0, high=1, whole=True)

    def signal(self, log_w: Tensor) -> Tensor:
        """log Z^ - log Z^_[k] - w~_k."""
        K = log_w.shape[-1]
        others = log_others(log_w)
        stand_in = _sum_of_others(log_w) / (K - 1) if self.geometric else others - math.log(K - 1)
        baseline = torch.logaddexp(others, stand_in) - math.log(K)
        return log_mean_exp(log_w)[..., None] - baseline - normalised(log_w)

    @property
    def theory(self) -> Theory:
        """SNR ~ (M/K)^(1/2) in the inference network, (M K)^(1/2) in the generative network."""
        return Theory((0.5, -0.5), (0.5, 0.5), "the K-sample bound", "Lievin et al. 2020")


def _sum_of_others(log_w: Tensor) -> Tensor:
    """Sum of the K - 1 other log-weights, of which some may be -inf: ``[..., K]`` to ``[..., K]``."""
    zero = torch.isneginf(log_w)
    finite = log_w.masked_fill(zero, 0)
    found = finite.sum(dim=-1, keepdim=True) - finite
    return found.masked_fill(zero.sum(dim=-1, keepdim=True) > zero.int(), -math.inf)
