"""What a model offers besides its densities, tried: some estimators ask for it, and not every model has it."""

from collections.abc import Callable

import torch
from torch import Tensor

from snrkit.core.batches import Batch
from snrkit.core.logweights import Parts
from snrkit.errors import CapabilityError
from snrkit.models.base import LatentModel

# What is asked for, and how an estimator that needs it says so.
_PARTS = {
    "prior": (Parts(prior=True), "needs the prior's density by itself"),
    "kl": (Parts(kl=True), "needs the proposal's KL divergence from the prior in closed form"),
    "sleep": (Parts(sleep=True), "needs samples of the model itself"),
    "regenerated": (Parts(regenerated=True), "needs a prior through whose parameters z can be drawn"),
}


def lacking(model: LatentModel, x: Batch, noise: Tensor, fresh: Callable[[], None]) -> dict[str, str]:
    """The parts that a model does not offer, by name, and why.

    Args:
        model: the model.
        x: data ``[B, *event]``.
        noise: ``[B, M, K, *noise_shape]``.
        fresh: puts the model's state back.
    """
    found: dict[str, str] = {}
    for name, (parts, need) in _PARTS.items():
        fresh()
        problem = _wrong(model, x, noise, parts)
        if problem:
            found[name] = f"{need}, and {problem}"
    return found


def _wrong(model: LatentModel, x: Batch, noise: Tensor, parts: Parts) -> str:
    """What is wrong with a part; empty if nothing is."""
    try:
        with torch.no_grad():
            behind = noise.new_zeros(*noise.shape[:3], model.dream_size if parts.sleep else 0)
            weights = model(x, torch.cat([noise, behind], dim=-1) if parts.sleep else noise, parts=parts)
        wrong = next((own for own, part in weights.present().items() if part.shape != weights.log_p.shape), "")
        return f"its {wrong} is not [B, M, K]" if wrong else ""
    except CapabilityError as error:
        return error.problem
    except Exception as error:  # a user's own method of that name; it matters to few estimators
        return f"the model's own fails ({type(error).__name__})"
