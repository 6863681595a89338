"""Densities that models are written with, in nats; each broadcasts and sums over the last axis."""

import math
from dataclasses import dataclass
from typing import Self

from torch import Tensor
from torch.nn.functional import softplus

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I), summed over the last axis: ``[..., D]`` to ``[...]``."""
    return -0.5 * z.square().sum(dim=-1) - z.shape[-1] * _HALF_LOG_2PI


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Sum over pixels of log Bernoulli(x; sigmoid(logits)).

    Args:
        x: values in [0, 1], shape broadcastable to that of ``logits``, e.g. ``[B, 1, 1, P]``.
        logits: shape ``[..., P]``.

    Returns:
        Shape ``[...]``.
    """
    return (x * logits - softplus(logits)).sum(dim=-1)


@dataclass(frozen=True)
class DiagonalNormal:
    """Normal proposals with independent coordinates, one per data point.

    Attributes:
        loc: means, shape ``[B, D]``.
        scale: standard deviations, positive, shape ``[B, D]`` or broadcastable to it.
    """

    loc: Tensor
    scale: Tensor

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(D,)``."""
        return (self.loc.shape[-1],)

    @property
    def mean(self) -> Tensor:
        """E_q[z], shape ``[B, D]``."""
        return self.loc

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised samples: noise ``[B, M, K, D]`` to z ``[B, M, K, D]``."""
        return self._per_sample(self.loc) + self._per_sample(self.scale) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x): z ``[B, M, K, D]`` to ``[B, M, K]``."""
        loc, scale = self._per_sample(self.loc), self._per_sample(self.scale)
        return standard_normal_log_prob((z - loc) / scale) - scale.log().expand_as(loc).sum(dim=-1)

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return type(self)(self.loc.detach(), self.scale.detach())

    def _per_sample(self, parameter: Tensor) -> Tensor:
        return parameter.expand_as(self.loc)[:, None, None]
