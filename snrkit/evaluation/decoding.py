"""What shows points of a model's latent space: images by their pixel means, sentences by their words."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from snrkit.errors import CapabilityError
from snrkit.models.base import LatentModel


class Decoding(ABC):
    """How z is shown.

    Attributes:
        column: of a table that holds what is shown: ``pixels`` or ``text``.
        likely: what is called what is most probable: pixel means, or words chosen greedily.
        drawn: what is called what is drawn from p(x|z).
    """

    column: ClassVar[str]
    likely: ClassVar[str]
    drawn: ClassVar[str]

    @abstractmethod
    def inputs(self, x: Tensor) -> list[Any]:
        """Data ``[n, P]`` themselves, each as it is shown."""

    @abstractmethod
    def show(self, z: Tensor) -> list[Any]:
        """The most probable x of each z ``[n, D]``."""

    @abstractmethod
    def noise_size(self, z: Tensor) -> int:
        """Standard normal numbers behind one x that is drawn, for z ``[n, D]``."""

    @abstractmethod
    def draw(self, z: Tensor, noise: Tensor) -> list[Any]:
        """An x of each z ``[n, D]``, of noise ``[n, noise_size]``."""


@dataclass(frozen=True)
class Images(Decoding):
    """Pixels, row by row.

    Attributes:
        means: z ``[n, D]`` to Bernoulli means ``[n, P]``.
    """

    column = "pixels"
    likely = "mean"
    drawn = "drawn"

    means: Callable[[Tensor], Tensor]

    def inputs(self, x: Tensor) -> list[Any]:
        """See ``Decoding``."""
        return list(x.cpu().numpy())

    def show(self, z: Tensor) -> list[Any]:
        """See ``Decoding``."""
        return self.inputs(self.means(z))

    def noise_size(self, z: Tensor) -> int:
        """P."""
        return self.means(z[:1]).shape[-1]

    def draw(self, z: Tensor, noise: Tensor) -> list[Any]:
        """Binary pixels: one is on where Phi of its noise lies below its mean."""
        return self.inputs((torch.special.ndtr(noise) < self.means(z)).to(z.dtype))


@dataclass(frozen=True)
class Sentences(Decoding):
    """Words.

    Attributes:
        model: what has ``length``, ``decode`` and ``texts`` as ``models.sentence.Sentence``.
    """

    column = "text"
    likely = "greedy"
    drawn = "sampled"

    model: Any

    def inputs(self, x: Tensor) -> list[Any]:
        """See ``Decoding``."""
        return list(self.model.texts(x))

    def show(self, z: Tensor) -> list[Any]:
        """Word by word the most probable one."""
        return self.inputs(self.model.decode(z))

    def noise_size(self, z: Tensor) -> int:  # noqa: ARG002
        """The longest sentence, in words and its end."""
        return int(self.model.length)

    def draw(self, z: Tensor, noise: Tensor) -> list[Any]:
        """Word by word one of its probability."""
        return self.inputs(self.model.decode(z, noise))


def decoding(model: LatentModel) -> Decoding:
    """How the z of a model are shown.

    Raises:
        CapabilityError: it decodes neither images nor sentences.
    """
    means = getattr(model, "pixel_means", None)
    if means is not None:
        return Images(means)
    if hasattr(model, "decode") and hasattr(model, "texts"):
        return Sentences(model)
    problem = f"{type(model).__name__} has no pixel_means, and no sentences to decode"
    raise CapabilityError("model", problem, "choose a model of images or sentences")
