"""Models with a standard normal prior, and those of binary pixels among them: what follows from it."""

import torch
from torch import Tensor

from snrkit.errors import CapabilityError
from snrkit.models.base import LatentModel, Posterior
from snrkit.models.densities import DiagonalNormal, standard_normal_log_prob


class StandardNormalPrior(LatentModel):
    """A model whose z has a standard normal prior of ``latent`` dimensions.

    Attributes:
        latent: D.
    """

    latent: int

    def log_prior(self, z: Tensor) -> Tensor:
        """log N(z; 0, I): ``[..., D]`` to ``[...]``."""
        return standard_normal_log_prob(z)

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:  # noqa: ARG002
        """KL(N(loc, scale^2), N(0, I)), ``[B, 1, 1]``, nats.

        Raises:
            CapabilityError: the proposal is no diagonal normal.
        """
        if not isinstance(posterior, DiagonalNormal):
            problem = f"that of a {type(posterior).__name__} has no closed form here"
            raise CapabilityError("kl", problem, "choose vae, which estimates it")
        loc, scale = torch.broadcast_tensors(posterior.loc, posterior.scale)  # type: ignore[no-untyped-call]
        terms = 0.5 * (loc.square() + scale.square() - 1) - scale.log()
        return terms.sum(dim=-1)[:, None, None]  # type: ignore[no-any-return]

    @property
    def prior_size(self) -> int:
        """D."""
        return self.latent

    def from_prior(self, noise: Tensor) -> Tensor:
        """The noise itself."""
        return noise


class BernoulliPixels(StandardNormalPrior):
    """Such a model of binary pixels, which it can draw: it has ``pixel_means``.

    Attributes:
        pixels: P, the number of pixels.
    """

    pixels: int

    def pixel_means(self, z: Tensor) -> Tensor:
        """Bernoulli means: z ``[..., D]`` to ``[..., P]``."""
        raise NotImplementedError

    @property
    def dream_size(self) -> int:
        """``P + prior_size``: first the noise of the pixels, then that of z."""
        return self.pixels + self.prior_size

    def dream(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise ``[..., P + prior_size]`` to pixels ``[..., P]`` and z ``[..., D]``."""
        z = self.from_prior(noise[..., self.pixels :])
        means = self.pixel_means(z)
        # A pixel is on where Phi(noise) lies below its mean.
        return (torch.special.ndtr(noise[..., : self.pixels]) < means).to(noise.dtype), z
