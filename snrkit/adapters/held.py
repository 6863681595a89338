"""The density of a proposal with its parameters held constant, where z is what still moves."""

from torch import Tensor, nn

from snrkit.core.batches import Batch
from snrkit.models.base import LatentModel
from snrkit.models.calling import call_with, parameters_of


class _Density(nn.Module):
    """log q as a forward pass, to be called with other parameters."""

    def __init__(self, owner: LatentModel) -> None:
        super().__init__()
        self.owner = owner

    def forward(self, x: Batch, z: Tensor) -> Tensor:
        """Of data ``[B, *event]`` at z ``[B, M, K, D]``: ``[B, M, K]``."""
        return self.owner.proposal(x).log_prob(z)


def held_density(owner: LatentModel, x: Batch, z: Tensor) -> Tensor:
    """log q(z|x) of a model whose parameters are constant, ``[B, M, K]``.

    Args:
        owner: the model.
        x: data ``[B, *event]``.
        z: ``[B, M, K, D]``, which keeps its derivative.
    """
    constant = {f"owner.{name}": own.detach() for name, own in parameters_of(owner).items()}
    value: Tensor = call_with(_Density(owner), constant, x, z)
    return value
