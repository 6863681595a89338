"""Samples of a proposal together with their density, which costs no more than either where one is made of the other."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

# Why z is no differentiable function of the parameters, where a proposal does not say.
NO_PATH = "the proposal's samples have no derivative in its parameters"


@dataclass(frozen=True)
class Draw:
    """Samples and their density.

    Attributes:
        z: ``[B, M, K, D]``.
        log_q: log q(z|x), ``[B, M, K]``; depends on the parameters directly and through z.
        log_q_path: the same with the parameters held constant, so that only the path through z is left; None where it was
            not asked for. Of z that has no path it is a constant.
    """

    z: Tensor
    log_q: Tensor
    log_q_path: Tensor | None


class Drawn(ABC):
    """A proposal that makes samples and their density in one go: a flow, a recurrent network, discrete layers.

    Attributes:
        reparameterised: whether z is a differentiable function of the parameters.
        no_path: why not, as a clause.
    """

    reparameterised: ClassVar[bool] = True
    no_path: ClassVar[str] = NO_PATH

    @abstractmethod
    def draw(self, noise: Tensor, path: bool) -> Draw:
        """Of noise ``[B, M, K, *noise_shape]``; with the density of the path if asked for."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) at any z ``[B, M, K, D]``: ``[B, M, K]``."""

    def sample(self, noise: Tensor) -> Tensor:
        """Noise ``[B, M, K, *noise_shape]`` to z ``[B, M, K, D]``."""
        return self.draw(noise, path=False).z


def drawn(posterior: Any, noise: Tensor, path: bool) -> Draw:
    """A draw of any proposal (see ``models.base.Posterior``), of noise ``[B, M, K, *noise_shape]``.

    Raises:
        CapabilityError: the path is asked for of a proposal whose parameters cannot be held constant.
    """
    return joined(posterior, noise, path, torch.zeros_like)[0]


def joined(posterior: Any, noise: Tensor, path: bool, log_p: Callable[[Tensor], Tensor]) -> tuple[Draw, Tensor]:
    """A draw, and what ``log_p`` gives of its samples; arguments as for ``drawn``.

    Of a proposal that is asked for samples first, log p comes between these and their density: the order in which autograd
    adds up derivatives, and so the last digit of every result, rests on it.
    """
    if isinstance(posterior, Drawn):
        draw = posterior.draw(noise, path)
        return draw, log_p(draw.z)
    z = posterior.sample(noise)
    held = posterior.detached().log_prob(z) if path else None
    value = log_p(z)
    return Draw(z, posterior.log_prob(z), held), value
