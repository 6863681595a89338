"""A model of two functions: ``encode`` and ``log_joint``."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from snrkit.adapters.found import holder, modules_of
from snrkit.core.batches import Batch
from snrkit.errors import SpecError
from snrkit.models.base import LatentModel


class FromFunctions(LatentModel):
    """Two functions and the modules that they use.

    Args:
        encode: as ``LatentModel.encode``.
        log_joint: as ``LatentModel.log_joint``.
        modules: by name.
        prior: p(z); None: nobody said.
    """

    def __init__(
        self,
        encode: Callable[[Batch], Any],
        log_joint: Callable[[Batch, Tensor], Tensor],
        modules: dict[str, nn.Module],
        prior: Any,
    ) -> None:
        super().__init__()
        self._functions, self._prior = (encode, log_joint), prior
        for name, module in modules.items():
            self.add_module(name, module)

    def encode(self, x: Batch) -> Any:
        """The function's."""
        return self._functions[0](x)

    def log_joint(self, x: Batch, z: Tensor) -> Tensor:
        """The function's."""
        return self._functions[1](x, z)

    def prior_distribution(self) -> Any:
        """What the caller said it is."""
        return super().prior_distribution() if self._prior is None else self._prior


def from_functions(
    encode: Callable[[Batch], Any],
    log_joint: Callable[[Batch, Tensor], Tensor],
    *,
    modules: Iterable[nn.Module] | nn.Module | None = None,
    prior: Any = None,
) -> FromFunctions:
    """A model of two functions, which everything here takes.

    The modules that the functions use are found: those that they are methods of, close over, or name as globals.

    Args:
        encode: data ``[B, *event]`` to the proposal: a distribution of ``torch.distributions``, the pair (mean, standard
            deviation), or ``snrkit.DiagonalNormal``.
        log_joint: data ``[B, 1, 1, *event]`` and z ``[B, M, K, D]`` to log p(x, z) in nats, ``[B, M, K]``.
        modules: those that are trained, where they are not all found.
        prior: p(z) as an object of ``torch.distributions``, which estimators with a KL in closed form want.

    Raises:
        SpecError: one is no function, or they use no module with parameters.
        CapabilityError: they use a parameter that lies in no module.
    """
    for name, function in (("encode", encode), ("log_joint", log_joint)):
        if not callable(function):
            raise SpecError(name, f"is a {type(function).__name__}", "give a function")
    return FromFunctions(encode, log_joint, holder(modules_of((encode, log_joint)), modules), prior)
