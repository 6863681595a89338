"""What a user's ``encode`` may return beside a ``Posterior``: objects of ``torch.distributions``, and pairs.

A distribution is taken over its parameters only. Its samples are made here, as functions of standard normal noise, since
torch's own draw from a global generator.
"""

import copy
import reprlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, distributions
from torch.distributions import transforms

from snrkit.core import batches
from snrkit.core.batches import Batch
from snrkit.errors import CapabilityError, NonFiniteError, SpecError
from snrkit.models.base import Posterior
from snrkit.models.densities import DiagonalNormal
from snrkit.models.families import (
    SERVED,
    family_of,
    has_inverse_density,
    is_continuous,
    is_independent,
    is_mixture,
    is_transformed,
)
from snrkit.models.parts import Distribution, parts_of, rebuilt, tensors_of
from snrkit.models.proposal import DistributionPosterior

_OWN = "return an object with noise_shape, sample(noise), log_prob(z), detached() and layer_means(noise) of your own"
# Transforms of parts of a vector.
_COUNTED = (transforms.CatTransform, transforms.StackTransform)
_PAIR_REMARK = "encode returned a pair: its second tensor is taken as the standard deviation"


def as_posterior(value: Any, x: Batch) -> tuple[Posterior, list[str]]:
    """What ``encode`` returned for data x, as a ``Posterior``.

    A ``Posterior`` passes as it is. Of a distribution with batch shape ``[B, *rest]`` all that follows the data points
    belongs to one latent variable: ``log_prob`` sums over ``rest``, so that ``Normal(loc, scale)`` with parameters
    ``[B, D]`` means the same with and without ``Independent``. z has the distribution's own shape,
    ``[B, M, K, *rest, *event]``; for one number per data point it is ``[B, M, K, 1]``. A pair of tensors ``[B, D]`` is
    (mean, standard deviation).

    Args:
        value: what ``encode`` returned.
        x: the data that it was given.

    Returns:
        The proposal, and remarks on how the value was read.

    Raises:
        CapabilityError: a distribution whose samples are no known function of normal or uniform noise.
        NonFiniteError: a parameter is NaN.
        SpecError: no distribution at all, parameters outside their range, or a shape that does not begin with B.
    """
    if all(hasattr(value, name) for name in ("noise_shape", "sample", "log_prob")):
        if not isinstance(value.noise_shape, tuple | list):
            problem = f"returned a {type(value).__name__} whose noise_shape is {reprlib.repr(value.noise_shape)}"
            raise SpecError("encode", problem, "give a tuple of sizes, for example (D,)")
        return value, []
    if isinstance(value, distributions.Distribution):
        return _of_distribution(value, batches.points(x)), []
    if isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(part, Tensor) for part in value):
        return _of_distribution(_normal(value), batches.points(x)), [_PAIR_REMARK]
    raise SpecError("encode", f"returned {_described(value)}", f"return a torch.distributions object, or {_OWN[7:]}")


def _normal(pair: Any) -> Distribution:
    loc, scale = pair
    remedy = "return snrkit.DiagonalNormal(mean, standard_deviation)"
    names = getattr(pair, "_fields", ("mean", "scale"))
    if any(word in names[1].lower() for word in ("log", "var", "cov")):
        problem = f"returned a pair whose second tensor is named {names[1]!r}"
        raise SpecError("encode", problem, "return snrkit.DiagonalNormal(mean, (0.5 * logvar).exp())")
    if loc.shape != scale.shape or not (loc.is_floating_point() and scale.is_floating_point()):
        shapes = batches.describe(tuple(pair))
        raise SpecError("encode", f"returned the pair {shapes}, where mean and scale of one shape are due", remedy)
    try:
        return distributions.Normal(loc, scale, validate_args=True)
    except ValueError:
        if _has_nan([loc, scale]):
            raise NonFiniteError("encode", "returned a pair with NaN", "check the model's parameters") from None
        problem = "returned a pair whose second tensor is not positive: (mean, logvar) is ambiguous"
        raise SpecError("encode", problem, "return snrkit.DiagonalNormal(mean, (0.5 * logvar).exp())") from None


def _described(value: Any) -> str:
    if value is None:
        return "None (is a return statement missing?)"
    if isinstance(value, Tensor):
        return f"a tensor {batches.describe(value)}, which is no distribution"
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with the keys {', '.join(str(key) for key in value)}"
    if isinstance(value, tuple | list):
        inside = [batches.describe(part) if isinstance(part, Tensor) else type(part).__name__ for part in value]
        return f"a {type(value).__name__} of {len(value)}: {', '.join(inside)}"
    return f"a {type(value).__name__}, which has not all of noise_shape, sample and log_prob"


def _of_distribution(value: Distribution, points: int) -> Posterior:
    # A copy, since asking a transform fills caches of its own.
    plain = rebuilt(value, lambda _, tensor: tensor)
    _require_known(plain, type(value).__name__)
    _require_valid(value)
    batch, event = tuple(value.batch_shape), tuple(value.event_shape)
    if batch[:1] != (points,):
        problem = (
            f"returned a {type(value).__name__} of batch shape {batch} and event shape {event} for {points} data points"
        )
        remedy = "the batch shape must begin with the data points: give every parameter as [B, ...], one row per point"
        raise SpecError("encode", problem, remedy)
    base = value.base_dist if type(value) is distributions.Independent else value
    if type(base) is distributions.Normal and base.loc.ndim == 2:
        return DiagonalNormal(base.loc, base.scale)
    return DistributionPosterior(plain)


def _require_known(d: Distribution, whole: str) -> None:
    """Refuse what cannot be drawn from noise, by name."""
    if is_independent(d):
        return _require_known(d.base_dist, whole)
    if is_mixture(d):
        return _require_known(d.component_distribution, whole)
    if is_transformed(d):
        _require_known(d.base_dist, whole)
        return _require_density(d, whole)
    if family_of(d) is None:
        name = type(d).__name__
        inside = "" if name == whole else f", made of a {name}"
        problem = f"returned a {whole}{inside}, whose samples are no known function of normal or uniform noise"
        raise CapabilityError("encode", problem, f"return a {SERVED}, or {_OWN[7:]}")
    return None


def _require_density(d: Distribution, whole: str) -> None:
    if not is_continuous(d.base_dist):
        problem = f"returned a {whole} that transforms a discrete distribution, which has no density to transform"
        raise CapabilityError("encode", problem, "apply the transform in log_joint instead")
    # Samples have the axes M and K before those that the user counted.
    if any(getattr(part, "dim", -1) >= 0 for part in parts_of(d) if isinstance(part, _COUNTED)):
        problem = f"returned a {whole} with a transform whose dim counts axes from the first"
        raise CapabilityError("encode", problem, "count from the last: give a negative dim")
    missing = [part for part in d.transforms if has_inverse_density(d) and not part.bijective]
    if missing:
        name = type(missing[0]).__name__
        problem = (
            f"returned a {whole} with the transform {name}, which is not bijective, so that q has no known density"
        )
        raise CapabilityError("encode", problem, "choose a transform whose bijective is True")


def _require_valid(d: Distribution) -> None:
    """Find parameters outside their range where the user's own construction did not look."""
    for node in _nodes(d):
        if node._validate_args:
            continue
        try:
            # Its construction checks parameters, under vmap too.
            distributions.Distribution.__init__(copy.copy(node), node.batch_shape, node.event_shape, True)
        except ValueError as error:
            name, text = type(node).__name__, str(error).splitlines()[0].removesuffix(", but found invalid values:")
            if _has_nan(tensors_of(node).values()):
                raise NonFiniteError("encode", f"returned a {name} with NaN", "check the model's parameters") from None
            remedy = "make positive what must be, e.g. by softplus or exp"
            raise SpecError("encode", f"returned a {name} with invalid parameters ({text})", remedy) from None


def _nodes(d: Distribution) -> list[Distribution]:
    inner = [part for part in vars(d).values() if isinstance(part, distributions.Distribution)]
    return [d, *(node for part in inner for node in _nodes(part))]


def _has_nan(tensors: Any) -> bool:
    try:
        return any(bool(tensor.isnan().any()) for tensor in tensors)
    except RuntimeError:  # vmap does not tell values
        return False
