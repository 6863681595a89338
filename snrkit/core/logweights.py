"""Log importance weights and the few things computed from them, each written once.

Axes are always ``[..., B, M, K]``: data point, outer sample, importance sample. K is last, even at M = K = 1.

Of weights in half precision the sums are taken in float32, which holds more than 65,504 samples and differences of large
log-weights; what comes out is rounded to their own type.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from snrkit.errors import CapabilityError


@dataclass(frozen=True)
class Parts:
    """What is asked for besides log p(x, z) and log q(z|x).

    Attributes:
        path: log q with the proposal's parameters held constant.
        prior: log p(z).
        kl: the KL divergence of the proposal from the prior, in closed form.
        sleep: log q(z|x) at samples (x, z) of the model itself, its dreams.
        regenerated: log p(x|z) and log w at samples that depend on the prior's parameters.
    """

    path: bool = False
    prior: bool = False
    kl: bool = False
    sleep: bool = False
    regenerated: bool = False

    def __or__(self, other: "Parts") -> "Parts":
        """What either asks for."""
        return Parts(**{own.name: getattr(self, own.name) or getattr(other, own.name) for own in fields(self)})

    @property
    def asked(self) -> dict[str, Any]:
        """How a model is asked for them: as arguments that are left out where nothing is asked for."""
        if self in (Parts(), Parts(path=True)):
            return {"path": True} if self.path else {}
        return {"parts": self}


@dataclass(frozen=True)
class LogWeights:
    """log w = log p(x, z) - log q(z|x), in nats, in the parts that estimators tell apart; None: not asked for.

    Attributes:
        log_p: log p(x, z), shape ``[..., B, M, K]``.
        log_q: log q(z|x), same shape; depends on the proposal's parameters directly and through z.
        log_q_path: log q(z|x) with the proposal's parameters detached, so that only the path through z is left.
        log_prior: log p(z), the part of ``log_p`` that z has by itself.
        kl: KL(q(z|x), p(z)) in closed form; of a proposal that is drawn in steps, given the earlier steps of each sample.
        log_q_sleep: log q(z|x) at samples (x, z) of the model, which are constants.
        log_lik_again: log p(x|z) with all its parameters constant, at z as a function of the prior's parameters.
        log_w_again: log w with all parameters of its densities constant, at the same z.
    """

    log_p: Tensor
    log_q: Tensor
    log_q_path: Tensor | None = None
    log_prior: Tensor | None = None
    kl: Tensor | None = None
    log_q_sleep: Tensor | None = None
    log_lik_again: Tensor | None = None
    log_w_again: Tensor | None = None

    def present(self) -> dict[str, Tensor]:
        """The parts that there are, by name."""
        named = {own.name: getattr(self, own.name) for own in fields(self)}
        return {name: part for name, part in named.items() if part is not None}

    @classmethod
    def of(cls, parts: Mapping[str, Tensor]) -> "LogWeights":
        """Of parts by name, as ``present`` gives them."""
        return cls(**parts)

    @property
    def log_w(self) -> Tensor:
        """log w, shape ``[..., B, M, K]``."""
        return self.log_p - self.log_q

    @property
    def log_q_score(self) -> Tensor:
        """Zero, whose gradient is the score, that of log q at fixed z: ``[..., B, M, K]``.

        Of log q the whole derivative is that of the path and the score, so the difference has the score alone. It is right
        for proposals of discrete z too, where there is no path.

        Raises:
            CapabilityError: the weights were made without the detached density.
        """
        return self.log_q - self._path()

    @property
    def log_lik(self) -> Tensor:
        """log p(x|z), shape ``[..., B, M, K]``.

        Raises:
            CapabilityError: the weights were made without log p(z).
        """
        return self.log_p - self.part("log_prior")

    def part(self, name: str) -> Tensor:
        """A part that was asked for, by its name here.

        Raises:
            CapabilityError: the weights were made without it.
        """
        found: Tensor | None = getattr(self, name)
        if found is None:
            raise CapabilityError(
                name, "the weights lack it", "ask for it: model(x, noise, parts=estimator.needs.parts)"
            )
        return found

    def _path(self) -> Tensor:
        if self.log_q_path is None:
            raise CapabilityError(
                "log_q_path", "the weights lack the detached density", "ask for it: model(x, noise, path=True)"
            )
        return self.log_q_path

    @property
    def log_w_path(self) -> Tensor:
        """log w whose gradient is the path derivative only, shape ``[..., B, M, K]``.

        Raises:
            CapabilityError: the weights were made without the detached density.
        """
        return self.log_p - self._path()


def log_mean_exp(log_w: Tensor) -> Tensor:
    """log (1/K) sum_k w_k over the last axis: ``[..., K]`` to ``[...]``."""
    return (torch.logsumexp(widened(log_w), dim=-1) - math.log(log_w.shape[-1])).to(log_w.dtype)


def normalised(log_w: Tensor) -> Tensor:
    """Self-normalised weights w_k / sum_j w_j over the last axis, shape unchanged."""
    return torch.softmax(log_w, dim=-1)


def log_others(log_w: Tensor) -> Tensor:
    """log of the sum of the K - 1 other weights, for each of the last axis: ``[..., K]`` to ``[..., K]``, K at least 2.

    In O(K): all others than the largest weight are the total less a small share, exact to rounding; only what is left
    beside the largest is summed anew. Differentiable.
    """
    wide = widened(log_w)
    total = torch.logsumexp(wide, dim=-1, keepdim=True)
    largest = torch.arange(wide.shape[-1], device=wide.device) == wide.argmax(dim=-1, keepdim=True)
    rest = torch.logsumexp(wide.masked_fill(largest, -math.inf), dim=-1, keepdim=True)
    # The branch that is not taken must be finite in its gradient too.
    share = torch.where(largest, torch.zeros_like(wide), (wide - total).exp())
    return torch.where(largest, rest, total + torch.log1p(-share)).to(log_w.dtype)


def log_rest(log_w: Tensor) -> Tensor:
    """log(1 - w~_k), finite as long as any other weight is not zero: ``[..., K]`` to ``[..., K]``, K at least 2."""
    wide = widened(log_w)
    return (log_others(wide) - torch.logsumexp(wide, dim=-1, keepdim=True)).to(log_w.dtype)


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
