"""What a model may offer besides densities: its prior by itself, samples of its own. Some estimators and commands ask."""

from typing import Any

from torch import Tensor, nn

from snrkit.core.batches import Batch
from snrkit.errors import CapabilityError
from snrkit.models import priors


class Offers(nn.Module):
    """Each method refuses until a model overrides it; most follow from ``prior_distribution``.

    A model may have something else by one of these names, a module for example: then that is what it has.
    """

    def _called(self) -> str:
        return type(self).__name__

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) in nats: z ``[..., D]`` to ``[...]``.

        Raises:
            CapabilityError: the model has no ``prior_distribution``, and no method of this name of its own.
        """
        return priors.log_prior(self.prior_distribution(), z)

    def prior_distribution(self) -> Any:
        """p(z) as an object of ``torch.distributions``, of batch shape ``[]`` or that of z: a user's model may say it here.

        ``log_prior``, ``kl_to_prior`` and ``from_prior`` follow from it.

        Raises:
            CapabilityError: the model does not say.
        """
        problem = f"{self._called()} does not say what its prior is"
        raise CapabilityError(
            "prior_distribution",
            problem,
            "give it a method prior_distribution() that returns a torch.distributions object",
        )

    def kl_to_prior(self, posterior: Any, z: Tensor) -> Tensor:  # noqa: ARG002 (of some models it depends on z)
        """KL(q(z|x), p(z)) in closed form, nats, ``[B, 1, 1]``; ``[B, M, K]`` where it depends on the sample.

        Args:
            posterior: of data ``[B, *event]``.
            z: its samples ``[B, M, K, D]``.

        Raises:
            CapabilityError: it has no closed form, or the model does not say what its prior is.
        """
        return priors.closed_kl(posterior, self.prior_distribution())

    @property
    def prior_size(self) -> int:
        """Standard normal numbers behind one sample of the prior.

        Raises:
            CapabilityError: the model does not say what its prior is.
        """
        return priors.prior_size(self.prior_distribution())

    def from_prior(self, noise: Tensor) -> Tensor:
        """Samples of the prior: noise ``[..., prior_size]`` to z ``[..., D]``.

        Raises:
            CapabilityError: the model does not say what its prior is.
        """
        return priors.from_prior(self.prior_distribution(), noise)

    @property
    def dream_size(self) -> int:
        """Standard normal numbers behind one dream.

        Raises:
            CapabilityError: the model cannot draw data.
        """
        raise CapabilityError("dream", f"{self._called()} cannot draw data", "give it dream_size and dream(noise)")

    def dream(self, noise: Tensor) -> tuple[Batch, Tensor]:  # noqa: ARG002
        """Samples of the model itself: noise ``[..., dream_size]`` to x ``[..., *event]`` and z ``[..., D]``.

        Raises:
            CapabilityError: the model cannot draw data.
        """
        raise CapabilityError("dream", f"{self._called()} cannot draw data", "give it dream_size and dream(noise)")

    def regenerate(self, z: Tensor) -> Tensor:  # noqa: ARG002
        """z ``[..., D]`` itself, as a function of the prior's parameters: T(T^-1(z)), of which T^-1 is held constant.

        Raises:
            CapabilityError: the prior has no parameters, or z is no function of them.
        """
        problem = f"the prior of {self._called()} has no parameters through which z can be drawn"
        raise CapabilityError("regenerate", problem, "choose dreg, which is the same where the prior is fixed")


class _Unless:
    """An attribute of a class, unless an object of it has one of the same name, a module or a tensor maybe."""

    def __init__(self, name: str, given: Any) -> None:
        self._name, self._given = name, given
        self.__doc__ = given.__doc__

    def __get__(self, model: nn.Module | None, kind: type) -> Any:
        if model is not None:
            for held in (model.__dict__, *(model.__dict__.get(place, {}) for place in _PLACES)):
                if self._name in held:
                    return held[self._name]
        return self._given.__get__(model, kind)

    def __set__(self, model: nn.Module, value: Any) -> None:
        model.__dict__[self._name] = value


# Where torch keeps what is no plain attribute.
_PLACES = ("_modules", "_parameters", "_buffers")
# What a model may offer, by name.
OFFERED = tuple(name for name in vars(Offers) if not name.startswith("_"))
for _name in OFFERED:
    setattr(Offers, _name, _Unless(_name, vars(Offers)[_name]))
