"""A model of two functions: ``encode`` and ``log_joint``."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from snrkit.adapters.found import holder, modules_of, require_found
from snrkit.core.batches import Batch
from snrkit.errors import CapabilityError, SpecError
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

    def reached(self, x: Batch) -> dict[str, tuple[bool, bool]]:
        """As ``LatentModel.reached``, if the modules that the functions use are all known."""
        require_found(self, x)
        return super().reached(x)

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

    The modules that the functions use are found: those that they are methods of, close over, or name as globals. Where a
    function turns out to use a trained parameter of another one, measuring is refused: it would be taken for a constant.

    Args:
        encode: data ``[B, *event]`` to the proposal: a distribution of ``torch.distributions``, the pair (mean, standard
            deviation), or ``snrkit.DiagonalNormal``.
        log_joint: data ``[B, 1, 1, *event]`` and z ``[B, M, K, D]`` to log p(x, z) in nats, ``[B, M, K]``.
        modules: those that are trained, where they are not all found.
        prior: p(z) as an object of ``torch.distributions``, which estimators with a KL in closed form want.

    Raises:
        SpecError: one is no function, or they use no module with parameters.
        CapabilityError: they use a parameter that lies in no module, or the prior is trained.
    """
    for name, function in (("encode", encode), ("log_joint", log_joint)):
        if not callable(function):
            raise SpecError(name, f"is a {type(function).__name__}", "give a function")
    if any(tensor.requires_grad for tensor in _tensors(prior)):
        problem = "depends on what is trained, and is the same in every draw here"
        raise CapabilityError("prior", problem, "write a class with encode, log_joint and prior_distribution")
    return FromFunctions(encode, log_joint, holder(modules_of((encode, log_joint)), modules), prior)


def _tensors(distribution: Any) -> list[Tensor]:
    """Those that a distribution of ``torch.distributions`` keeps, and those below it."""
    kept = getattr(distribution, "__dict__", {}).values()
    below = [part for part in kept if isinstance(part, Distribution)]
    return [part for part in kept if isinstance(part, Tensor)] + [t for part in below for t in _tensors(part)]
