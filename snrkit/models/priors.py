"""What follows from a prior that a model names as an object of ``torch.distributions``."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, LowRankMultivariateNormal, MultivariateNormal, Normal, kl_divergence

from snrkit.errors import CapabilityError
from snrkit.models.densities import DiagonalNormal
from snrkit.models.parts import Distribution
from snrkit.models.proposal import DistributionPosterior
from snrkit.models.traces import noise_size

_KL = "has no closed form here"


def log_prior(prior: Distribution, z: Tensor) -> Tensor:
    """log p(z), summed over all of z: z ``[..., D]`` to ``[...]``."""
    return _as_proposal(_for_each(prior, z.shape[-1:])).log_prob(z.reshape(1, 1, -1, *z.shape[-1:])).view(z.shape[:-1])


def prior_size(prior: Distribution) -> int:
    """Standard normal numbers behind one sample."""
    numbers: int = math.prod(prior.batch_shape) * noise_size(prior)
    return numbers


def from_prior(prior: Distribution, noise: Tensor) -> Tensor:
    """Noise ``[..., prior_size]`` to samples ``[..., D]``."""
    z = _as_proposal(prior).sample(noise.reshape(1, 1, -1, noise.shape[-1]))
    return z.reshape(*noise.shape[:-1], -1)


def closed_kl(posterior: Any, prior: Distribution) -> Tensor:
    """KL(q, p) in closed form, ``[B, 1, 1]``, nats.

    Raises:
        CapabilityError: torch knows none for the two, or the proposal is no distribution.
    """
    q = _distribution_of(posterior)
    prior = _for_each(prior, (*q.batch_shape, *q.event_shape)[1:])
    # Coordinates that one of the two has as an event are an event of both.
    events = max(_events(q), _events(prior))
    if {_is_dense(q), _is_dense(prior)} == {True, False}:
        q, prior = _dense(q), _dense(prior)
    q, p = (Independent(own, events - _events(own)) if _events(own) < events else own for own in (q, prior))
    try:
        value: Tensor = kl_divergence(q, p)
    except NotImplementedError:
        names = f"{type(q).__name__} from {type(p).__name__}"
        raise CapabilityError("kl", f"that of {names} {_KL}", "choose vae, which estimates it") from None
    return value.reshape(len(value), -1).sum(dim=-1)[:, None, None]


def _is_dense(own: Distribution) -> bool:
    return isinstance(own, MultivariateNormal | LowRankMultivariateNormal)


def _dense(own: Distribution) -> Distribution:
    """Independent normals over one axis as the multivariate normal that they are; others as they are."""
    inside = own.base_dist if isinstance(own, Independent) else own
    if not isinstance(inside, Normal) or not inside.batch_shape:
        return own
    loc, scale = torch.broadcast_tensors(inside.loc, inside.scale)  # type: ignore[no-untyped-call]
    return MultivariateNormal(loc, scale_tril=torch.diag_embed(scale))


def _for_each(prior: Distribution, shape: Sequence[int]) -> Distribution:
    """One law for every coordinate where the prior is that of a single number."""
    return prior if prior.batch_shape or prior.event_shape else prior.expand(torch.Size(shape))


def _events(own: Distribution) -> int:
    return len(own.event_shape)


def _distribution_of(posterior: Any) -> Distribution:
    if isinstance(posterior, DistributionPosterior):
        return posterior.distribution()
    if isinstance(posterior, DiagonalNormal):
        loc, scale = torch.broadcast_tensors(posterior.loc, posterior.scale)  # type: ignore[no-untyped-call]
        return Independent(Normal(loc, scale), 1)
    problem = f"that of a {type(posterior).__name__} {_KL}"
    raise CapabilityError("kl", problem, "choose vae, which estimates it")


def _as_proposal(prior: Distribution) -> DistributionPosterior:
    return DistributionPosterior(prior.expand((1, *prior.batch_shape)))
