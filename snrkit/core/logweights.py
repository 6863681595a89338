"""Log importance weights and the few things computed from them, each written once.

Axes are always ``[..., B, M, K]``: data point, outer sample, importance sample. K is last, even at M = K = 1.

Of weights in half precision the sums are taken in float32, which holds more than 65,504 samples and differences of large
log-weights; what comes out is rounded to their own type.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snrkit.errors import CapabilityError


@dataclass(frozen=True)
class LogWeights:
    """log w = log p(x, z) - log q(z|x), in nats, in the parts that estimators tell apart.

    Attributes:
        log_p: log p(x, z), shape ``[..., B, M, K]``.
        log_q: log q(z|x), same shape; depends on the proposal's parameters directly and through z.
        log_q_path: log q(z|x) with the proposal's parameters detached, so that only the path through z is left; None
            where it was not asked for.
    """

    log_p: Tensor
    log_q: Tensor
    log_q_path: Tensor | None = None

    @property
    def log_w(self) -> Tensor:
        """log w, shape ``[..., B, M, K]``."""
        return self.log_p - self.log_q

    @property
    def log_w_path(self) -> Tensor:
        """log w whose gradient is the path derivative only, shape ``[..., B, M, K]``.

        Raises:
            CapabilityError: the weights were made without the detached density.
        """
        if self.log_q_path is None:
            raise CapabilityError(
                "log_q_path", "the weights lack the detached density", "ask for it: model(x, noise, path=True)"
            )
        return self.log_p - self.log_q_path


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/K) sum_k w_k over the last axis: ``[..., K]`` to ``[...]``."""
    return (torch.logsumexp(widened(log_w), dim=-1) - math.log(log_w.shape[-1])).to(log_w.dtype)


def normalised(log_w: Tensor) -> Tensor:
    """Self-normalised weights w_k / sum_j w_j over the last axis, shape unchanged."""
    return torch.softmax(log_w, dim=-1)


def effective_sample_size(log_w: Tensor) -> Tensor:
    """ESS = (sum w)^2 / sum w^2 over the last axis, between 1 and K: ``[..., K]`` to ``[...]``."""
    wide = widened(log_w)
    if wide is not log_w:
        wide = wide - wide.amax(dim=-1, keepdim=True)  # changes nothing but the digits that are left
    ess = torch.exp(2 * torch.logsumexp(wide, dim=-1) - torch.logsumexp(2 * wide, dim=-1))
    return ess.to(log_w.dtype)


def widened(x: Tensor) -> Tensor:
    """The same numbers in float32 where they come in half precision; else the tensor itself."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def pooled(log_w: Tensor) -> Tensor:
    """All M K samples as one group: ``[..., M, K]`` to ``[..., 1, M K]``."""
    return log_w.flatten(-2).unsqueeze(-2)
