"""Samples of distributions, what they were made of, and their densities from that."""

import math
from dataclasses import dataclass, field
from typing import Self

from torch import Tensor

from snrkit.models.families import (
    Family,
    category,
    family_of,
    has_inverse_density,
    is_independent,
    is_mixture,
    is_transformed,
)
from snrkit.models.parts import Distribution, tensors_of


@dataclass(frozen=True)
class Trace:
    """A sample and what it was made of.

    Attributes:
        z: ``[..., *batch, *event]``.
        before: of a transformed distribution the input of each transform.
        base: the trace of the distribution inside.
    """

    z: Tensor
    before: list[Tensor] = field(default_factory=list)
    base: Self | None = None

    @property
    def inner(self) -> Self:
        """The trace of the distribution inside, where there is one."""
        assert self.base is not None
        return self.base


def noise_size(d: Distribution) -> int:
    """Standard normal numbers that one sample consumes per element of the batch shape."""
    if is_independent(d):
        inside = tuple(d.event_shape[: d.reinterpreted_batch_ndims])
        return int(math.prod(inside)) * noise_size(d.base_dist)
    if is_mixture(d):
        return int(d._num_component) + noise_size(d.component_distribution)
    return noise_size(d.base_dist) if is_transformed(d) else _known(d).size(d)


def traced(d: Distribution, noise: Tensor) -> Trace:
    """Noise ``[..., *batch, n]`` to a sample."""
    if is_independent(d):
        inside = d.event_shape[: d.reinterpreted_batch_ndims]
        base = traced(d.base_dist, noise.reshape(*noise.shape[:-1], *inside, noise_size(d.base_dist)))
        return Trace(base.z, base=base)
    if is_mixture(d):
        return Trace(_component(d, noise))
    if not is_transformed(d):
        return Trace(_known(d).sample(d, noise))
    base = traced(d.base_dist, noise)
    values = [base.z]
    for part in d.transforms:
        values.append(part(values[-1]))
    return Trace(values[-1], values[:-1], base)


def density(d: Distribution, trace: Trace) -> Tensor:
    """log q of a sample from what it was made of; inverting saturated transforms would lose digits, or all of them."""
    if is_independent(d):
        return summed(density(d.base_dist, trace.inner), d.reinterpreted_batch_ndims)
    if not is_transformed(d) or not has_inverse_density(d):
        family = family_of(d)
        own: Tensor = family.density(d, trace.z) if family and family.density else d.log_prob(trace.z)
        return own
    events, total = len(d.event_shape), trace.z.new_zeros(())
    for part, x, y in reversed(list(zip(d.transforms, trace.before, [*trace.before[1:], trace.z], strict=True))):
        events += part.domain.event_dim - part.codomain.event_dim
        total = total - summed(part.log_abs_det_jacobian(x, y), events - part.domain.event_dim)
    return total + summed(density(d.base_dist, trace.inner), events - len(d.base_dist.event_shape))


def retraced(d: Distribution, trace: Trace, z: Tensor) -> Trace:
    """The same sample as a function of z alone: through the parameters of d, and not through those that made it.

    A transform without tensors of its own maps the same points under both, so what was kept is right as it is. Through
    others the way is found by inverting, and has the values that were kept.
    """
    if is_independent(d):
        return Trace(z, base=retraced(d.base_dist, trace.inner, z))
    if not is_transformed(d) or not has_inverse_density(d):
        return Trace(z)
    before: list[Tensor] = []
    y, same = z, z is trace.z
    for part, kept in reversed(list(zip(d.transforms, trace.before, strict=True))):
        same = same and not tensors_of(part)
        y = kept if same else _with_value(part.inv(y), kept)
        before.insert(0, y)
    return Trace(z, before, retraced(d.base_dist, trace.inner, y))


def summed(value: Tensor, axes: int) -> Tensor:
    """The sum over the last so many axes."""
    return value.sum(dim=tuple(range(-axes, 0))) if axes else value


def _component(d: Distribution, noise: Tensor) -> Tensor:
    """One component's sample. All use the same noise, since only one of them is seen."""
    count, events = int(d._num_component), len(d.event_shape)
    index = category(d.mixture_distribution.logits, noise[..., :count])
    own = noise[..., None, count:]
    each = traced(d.component_distribution, own.expand(*own.shape[:-2], count, own.shape[-1])).z
    chosen = index.reshape(*index.shape, *[1] * (1 + events))
    return each.take_along_dim(chosen, dim=-1 - events).squeeze(-1 - events)


def _with_value(function: Tensor, value: Tensor) -> Tensor:
    return value.detach() + (function - function.detach())


def _known(d: Distribution) -> Family:
    family = family_of(d)
    assert family is not None  # others are refused before
    return family
