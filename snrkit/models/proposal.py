"""A proposal made of an object of ``torch.distributions``: its samples are functions of standard normal noise."""

import copy
import math
from typing import Self

import torch
from torch import Tensor

from snrkit.errors import CapabilityError
from snrkit.models.families import is_reparameterised
from snrkit.models.parts import Distribution, parts_of, rebuilt, tensors_of
from snrkit.models.supports import support_of
from snrkit.models.traces import Trace, density, noise_size, retraced, traced


class DistributionPosterior:
    """A ``torch.distributions`` object as a proposal.

    Every tensor of the distribution is an attribute of this object, by its path there (``loc``, ``base_dist.loc``), and the
    distribution is put together from them where it is used: whoever exchanges them has another proposal.

    Args:
        value: a distribution of batch shape ``[B, *rest]``.

    Attributes:
        reparameterised: whether z is differentiable in the parameters; where not, it is a constant.
    """

    _constant = False

    def __init__(self, value: Distribution) -> None:
        tensors = tensors_of(value)
        self._template = value
        self._paths = {id(tensor): path for path, tensor in tensors.items()}
        self.reparameterised = is_reparameterised(value)
        self._last: list[tuple[Tensor, Trace]] = []
        self._built: list[tuple[list[Tensor], Distribution]] = []
        vars(self).update(tensors)

    def __copy__(self) -> Self:
        new = type(self).__new__(type(self))
        # A copy may get other tensors, for which the sample that is remembered was made otherwise.
        vars(new).update(vars(self), _last=[], _built=[])
        return new

    @property
    def fixed_support(self) -> bool:
        """Whether the values that z can take are the same for all parameters; ask where gradients are recorded.

        Where they move, as those of ``Uniform``, a density held constant says nothing of the parameters.
        """
        return support_of(self.distribution()) != "moving"

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(E,)``."""
        return (math.prod(self._rest) * noise_size(self._template),)

    def sample(self, noise: Tensor) -> Tensor:
        """Noise ``[B, M, K, E]`` to z ``[B, M, K, *rest, *event]``."""
        d, wide = self.distribution(), _widened(noise).movedim(0, 2)
        trace = traced(d, wide.reshape(*wide.shape[:3], *self._rest, noise_size(d)))
        z = trace.z.movedim(2, 0)
        z = z.to(noise.dtype) if wide.dtype != noise.dtype and z.is_floating_point() else z
        z = z[..., None] if self._scalar else z
        if not self.reparameterised:
            return z.detach()
        self._last[:] = [(z, trace)]
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x): z ``[B, M, K, *rest, *event]`` to ``[B, M, K]``.

        The sample that was drawn last, of this proposal or of the one that this is ``detached`` from, is recognised, and
        what it was made of need not be found by inverting transforms.
        """
        d = self.distribution()
        known = next((trace for sample, trace in self._last if sample is z), None)
        if known is None:
            value: Tensor = d.log_prob(_widened(z[..., 0] if self._scalar else z).movedim(0, 2))
        else:
            value = density(d, retraced(d, known, known.z) if self._constant else known)
        value = value.movedim(2, 0)
        value = value.flatten(3).sum(dim=-1) if value.ndim > 3 else value
        return value.to(z.dtype) if z.is_floating_point() and z.dtype.itemsize < 4 else value

    def detached(self) -> Self:
        """The same density with its parameters held constant.

        Raises:
            CapabilityError: the density still depends on parameters, which some code of its own holds.
        """
        new = copy.copy(self)
        vars(new).update({path: vars(self)[path].detach() for path in self._paths.values()}, _last=self._last)
        new._constant = True
        if not all(type(node).__module__.startswith("torch.") for node in parts_of(self._template)):
            new._require_constant()
        return new

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """E_q[z] of the only layer, ``[B, 1, 1, D]`` where torch has it; else z itself, ``[B, M, K, D]``, whose mean it is.

        Raises:
            CapabilityError: there is no mean, as of ``Cauchy`` and of the numbers of categories.
        """
        try:
            mean = self.distribution().mean
        except NotImplementedError:
            return (self.sample(noise).flatten(3),)
        if not mean.isfinite().all():
            problem = f"returned a {type(self._template).__name__}, which has no mean"
            raise CapabilityError("encode", problem, "ask for something else than means of latents, e.g. active units")
        return (mean.reshape(len(mean), 1, 1, -1),)

    @property
    def _rest(self) -> tuple[int, ...]:
        return tuple(self._template.batch_shape[1:])

    @property
    def _scalar(self) -> bool:
        return len(self._template.batch_shape) == 1 and not self._template.event_shape

    def distribution(self) -> Distribution:
        """The distribution itself, of the tensors that are attributes of this object."""
        held = {path: vars(self)[path] for path in self._paths.values()}
        # An attribute may have been exchanged since.
        if not self._built or any(a is not b for a, b in zip(self._built[0][0], held.values(), strict=True)):
            built = rebuilt(self._template, lambda _, tensor: _widened(held[self._paths[id(tensor)]]))
            self._built[:] = [(list(held.values()), built)]
        return self._built[0][1]

    def _require_constant(self) -> None:
        like = next(value for value in vars(self).values() if isinstance(value, Tensor) and value.is_floating_point())
        with torch.enable_grad():
            noise = like.new_zeros(self._template.batch_shape[0], 1, 1, *self.noise_shape)
            z = copy.copy(self).sample(noise).detach()
            free = not copy.copy(self).log_prob(z).requires_grad
        if not free:
            problem = f"returned a {type(self._template).__name__} whose parameters cannot be held constant"
            raise CapabilityError(
                "encode", problem, "hold them as tensors or modules in attributes, or use estimator iwae"
            )


def _widened(value: Tensor) -> Tensor:
    """Half precision as float32: densities overflow or lose their digits in it, and special functions are absent."""
    return value.float() if value.is_floating_point() and value.dtype.itemsize < 4 else value
