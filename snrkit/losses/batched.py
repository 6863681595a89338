"""Many draws in one pass, where the noise of a loss is an argument of it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snrkit.losses.gradient import Gradient
from snrkit.losses.parameters import Trained
from snrkit.models.calling import call_with, parameters_of, shown

# Draws that are made both ways before the fast way is taken, and how far they may differ (in the rounding of the type).
_TRIED, _ROUNDINGS = 3, 1e3

# Noise ``[n, *shape]`` and a batch to gradients ``[n, P]`` and losses ``[n]``.
Together = Callable[[Tensor, Any], tuple[Tensor, Tensor]]


class _Called(nn.Module):
    """A loss as the forward pass of a module, so that other tensors may stand for the parameters."""

    def __init__(self, gradient: Gradient, module: nn.Module) -> None:
        super().__init__()
        self.model, self._gradient = module, gradient

    def forward(self, batch: Any, noise: Tensor) -> Tensor:
        """The loss."""
        value: Tensor = self._gradient.call(batch, noise)
        return value.reshape(())


def together(gradient: Gradient, trained: Trained) -> Together | None:
    """How several draws are made at once; None where parameters are not those of one module."""
    if (
        gradient.kind != "scalar"
        or gradient.hidden
        or len(trained.modules) != 1
        or trained.given is not trained.modules[0]
    ):
        return None
    called = _Called(gradient, trained.modules[0])
    places = {shown(name.removeprefix("model.")): name for name in parameters_of(called)}

    def of_one(tensors: dict[str, Tensor], batch: Any, noise: Tensor) -> Tensor:
        value: Tensor = call_with(called, tensors, batch, noise)
        return value

    gradients = torch.func.vmap(torch.func.grad_and_value(of_one), in_dims=(None, None, 0))

    def made(noise: Tensor, batch: Any) -> tuple[Tensor, Tensor]:
        tensors = {places[name]: tensor.detach() for name, tensor in trained.named.items()}
        found, values = gradients(tensors, batch, noise)
        return torch.cat([found[places[name]].flatten(1) for name in trained.named], dim=1), values

    return made


def serves(made: Together, gradient: Gradient, noise: Tensor, batch: Any, trained: Trained) -> str:
    """Why vmap cannot draw these gradients; empty where it gives what single passes give.

    Args:
        made: several draws at once.
        gradient: single draws.
        noise: of a few draws, ``[n, *shape]``.
        batch: the batch.
        trained: the parameters.
    """
    few = noise[:_TRIED]
    rows = torch.empty(len(few), trained.layout.size, dtype=trained.dtype, device=trained.device)
    for row, own in zip(rows, few, strict=True):
        gradient.into(row, batch, own)
    try:
        found = made(few, batch)[0].to(rows.dtype)
    except Exception as error:  # torch.func refuses what it cannot trace in many ways
        return str(error).partition("\n")[0] or type(error).__name__
    eps = torch.finfo(trained.own).eps
    if not bool((found - rows).norm() <= _ROUNDINGS * eps * rows.norm()):
        return "its gradients differ from those of single passes"
    return ""
