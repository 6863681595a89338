"""Families of distributions whose samples are known functions of standard normal noise.

Uniform numbers are Phi(noise), and functions of them are written with log Phi, which holds its digits in both tails.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributions
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.relaxed_categorical import ExpRelaxedCategorical
from torch.nn.functional import logsigmoid

from snrkit.models.parts import Distribution

Kernel = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Family:
    """How samples of a distribution follow from noise.

    Attributes:
        sample: the distribution and noise ``[..., *batch, n]``, float32 or float64, to samples ``[..., *batch, *event]``.
        size: standard normal numbers n per element of the batch shape.
        continuous: whether the distribution has a density, and the sample a derivative.
        density: log density at a sample made here; None leaves it to ``log_prob``.
    """

    sample: Callable[[Distribution, Tensor], Tensor]
    size: Callable[[Distribution], int] = lambda _: 1
    continuous: bool = True
    density: Callable[[Distribution, Tensor], Tensor] | None = None


def family_of(d: Distribution) -> Family | None:
    """The family that a distribution belongs to and draws as; None for what is not in the table."""
    nearest = next((kind for kind in type(d).__mro__ if kind in _FAMILIES), None)
    return _FAMILIES[nearest] if nearest is not None and _draws_as(d, nearest) else None


def is_independent(d: Distribution) -> bool:
    """Whether a distribution only counts batch axes of another to the event."""
    return _draws_as(d, distributions.Independent)


def is_mixture(d: Distribution) -> bool:
    """Whether a distribution chooses one of several components."""
    return _draws_as(d, distributions.MixtureSameFamily)


def is_transformed(d: Distribution) -> bool:
    """Whether a distribution draws from another and transforms the sample."""
    return family_of(d) is None and _draws_as(d, distributions.TransformedDistribution)


def has_inverse_density(d: Distribution) -> bool:
    """Whether a transformed distribution's density is that of its base and the transforms' Jacobians."""
    return type(d).log_prob is distributions.TransformedDistribution.log_prob


def is_continuous(d: Distribution) -> bool:
    """Whether z has a density and not probabilities."""
    if is_independent(d) or is_transformed(d):
        return is_continuous(d.base_dist)
    if is_mixture(d):
        return is_continuous(d.component_distribution)
    family = family_of(d)
    return family is not None and family.continuous


def is_reparameterised(d: Distribution) -> bool:
    """Whether z is differentiable in the parameters; the choice of a mixture's component is not, in the weights."""
    if is_independent(d) or is_transformed(d):
        return is_reparameterised(d.base_dist)
    return not is_mixture(d) and is_continuous(d)


def _draws_as(d: Distribution, kind: Any) -> bool:
    return isinstance(d, kind) and all(getattr(type(d), name) is getattr(kind, name) for name in ("sample", "rsample"))


def category(logits: Tensor, noise: Tensor) -> Tensor:
    """The number of a category by the largest of logits plus Gumbel noise: ``[..., C]`` to ``[...]``."""
    return (logits + _gumbel(noise)).argmax(dim=-1)


def _log_cdf(noise: Tensor) -> Tensor:
    """log Phi. Not ``torch.special.log_ndtr``, which vmap takes apart into single calls, with a warning."""
    below = -0.5 * noise.square() + (0.5 * torch.special.erfcx(-noise.clamp(max=0) * math.sqrt(0.5))).log()
    return torch.where(noise < -1, below, (-0.5 * torch.erfc(noise.clamp(min=-1) * math.sqrt(0.5))).log1p())


def _gumbel(noise: Tensor) -> Tensor:
    return -(-_log_cdf(noise)).log()


def _exponential(noise: Tensor) -> Tensor:
    return -_log_cdf(-noise)


def _laplace(noise: Tensor) -> Tensor:
    return -noise.sign() * (math.log(2) + _log_cdf(-noise.abs()))


def _cauchy(noise: Tensor) -> Tensor:
    return noise.sign() / (math.pi * _uniform(-noise.abs())).tan()


def _logistic(noise: Tensor) -> Tensor:
    return _log_cdf(noise) - _log_cdf(-noise)


def _uniform(noise: Tensor) -> Tensor:
    """Phi, rounded to the open interval: at its ends transforms have poles."""
    limits = torch.finfo(noise.dtype)
    u: Tensor = torch.special.ndtr(noise)
    return u.clamp(limits.tiny, 1 - limits.eps / 2)


def _located(kernel: Kernel) -> Family:
    def sample(d: Distribution, noise: Tensor) -> Tensor:
        z: Tensor = d.loc + d.scale * kernel(noise[..., 0])
        return z

    return Family(sample)


def _between(d: Distribution, noise: Tensor) -> Tensor:
    z: Tensor = d.low + _uniform(noise[..., 0]) * (d.high - d.low)
    return z


def _density_between(d: Distribution, z: Tensor) -> Tensor:
    # A sample may round to the upper end, where log_prob is minus infinity.
    width: Tensor = d.high - d.low
    return -width.log().expand(z.shape)


def _full_covariance(d: Distribution, noise: Tensor) -> Tensor:
    z: Tensor = d.loc + (d._unbroadcasted_scale_tril @ noise[..., None])[..., 0]
    return z


def _low_rank(d: Distribution, noise: Tensor) -> Tensor:
    rank = d.cov_factor.shape[-1]
    common = (d._unbroadcasted_cov_factor @ noise[..., :rank, None])[..., 0]
    z: Tensor = d.loc + common + d._unbroadcasted_cov_diag.sqrt() * noise[..., rank:]
    return z


def _relaxed_bernoulli(d: Distribution, noise: Tensor) -> Tensor:
    z: Tensor = (d.logits + _logistic(noise[..., 0])) / d.temperature
    return z


def _relaxed_category(d: Distribution, noise: Tensor) -> Tensor:
    return torch.log_softmax((d.logits + _gumbel(noise)) / d.temperature, dim=-1)


def _bernoulli(d: Distribution, noise: Tensor) -> Tensor:
    one = _log_cdf(noise[..., 0]) < logsigmoid(d.logits)
    return one.to(d.logits.dtype)


def _one_hot(d: Distribution, noise: Tensor) -> Tensor:
    numbers = torch.arange(noise.shape[-1], device=noise.device)
    return (category(d.logits, noise)[..., None] == numbers).to(d.logits.dtype)


def _width(d: Distribution) -> int:
    return int(d.event_shape[0])


_FAMILIES: dict[Any, Family] = {
    distributions.Normal: _located(lambda noise: noise),
    distributions.Laplace: _located(_laplace),
    distributions.Cauchy: _located(_cauchy),
    distributions.Gumbel: _located(_gumbel),
    distributions.MultivariateNormal: Family(_full_covariance, _width),
    distributions.LowRankMultivariateNormal: Family(_low_rank, lambda d: _width(d) + int(d.cov_factor.shape[-1])),
    distributions.Exponential: Family(lambda d, noise: _exponential(noise[..., 0]) / d.rate),
    distributions.Uniform: Family(_between, density=_density_between),
    LogitRelaxedBernoulli: Family(_relaxed_bernoulli),
    ExpRelaxedCategorical: Family(_relaxed_category, _width),
    distributions.Bernoulli: Family(_bernoulli, continuous=False),
    distributions.Categorical: Family(
        lambda d, noise: category(d.logits, noise), lambda d: int(d._num_events), continuous=False
    ),
    distributions.OneHotCategorical: Family(_one_hot, _width, continuous=False),
    # Its sample's graph leads to the probabilities, but is not the sample's derivative.
    distributions.OneHotCategoricalStraightThrough: Family(_one_hot, _width, continuous=False),
}

SERVED = (
    "Normal, MultivariateNormal, LowRankMultivariateNormal, Laplace, Cauchy, Gumbel, Exponential, Uniform, LogNormal, "
    "HalfNormal, HalfCauchy, LogisticNormal, Weibull, Pareto, Kumaraswamy, RelaxedBernoulli, RelaxedOneHotCategorical, "
    "Bernoulli, Categorical, OneHotCategorical, Independent, MixtureSameFamily or TransformedDistribution"
)
