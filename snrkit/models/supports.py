"""Whether the values that a distribution can take depend on its parameters."""

from typing import Any, Literal

import torch
from torch import distributions
from torch.distributions import constraints, transforms

from snrkit.models.families import is_independent, is_mixture, is_transformed
from snrkit.models.parts import Distribution, tensors_of

# The real line, the positive numbers, (0, 1), something else, or what may depend on parameters.
Support = Literal["real", "half", "unit", "other", "moving"]
_ENDS: dict[Support, list[int]] = {"half": [0], "unit": [0, 1]}


def support_of(d: Distribution) -> Support:
    """The support of each coordinate; where no gradients are recorded, every tensor may depend on parameters."""
    if is_independent(d):
        return support_of(d.base_dist)
    if is_mixture(d):
        return support_of(d.component_distribution)
    if not is_transformed(d) or type(d).support is not distributions.TransformedDistribution.support:
        return _described(d.support)
    found = support_of(d.base_dist)
    for part in d.transforms:
        found = _image(found, part)
    return found


def _described(constraint: Any) -> Support:
    while isinstance(constraint, constraints.independent):
        constraint = constraint.base_constraint
    if isinstance(constraint, type(constraints.real)):
        return "real"
    bounds = [getattr(constraint, name) for name in ("lower_bound", "upper_bound") if hasattr(constraint, name)]
    if any(_varies(bound) for bound in bounds):
        return "moving"
    return next((support for support, ends in _ENDS.items() if _equal(bounds, ends)), "other")


def _equal(bounds: list[Any], ends: list[int]) -> bool:
    return len(bounds) == len(ends) and all(
        bool((torch.as_tensor(bound) == end).all()) for bound, end in zip(bounds, ends, strict=True)
    )


def _image(support: Support, part: Any) -> Support:
    """The support after a transform."""
    if isinstance(part, transforms.ComposeTransform):
        for inner in part.parts:
            support = _image(support, inner)
        return support
    if isinstance(part, transforms.IndependentTransform):
        return _image(support, part.base_transform)
    if support == "moving":
        return support
    affine = part.inv if isinstance(part, transforms._InverseTransform) else part
    if isinstance(affine, transforms.AffineTransform):
        # Its domain and codomain are said to be the real line whatever goes in.
        from_zero = not _varies(affine.loc) and not torch.as_tensor(affine.loc).any()
        if support == "real" or (support == "half" and from_zero):
            return support
    elif support != "other" and support == _described(part.domain):
        # A bijection of the whole of its domain has the same image whatever its parameters.
        return _described(part.codomain)
    return "moving" if _varies(part) else "other"


def _varies(value: Any) -> bool:
    return any(tensor.requires_grad or not torch.is_grad_enabled() for tensor in tensors_of(value).values())
