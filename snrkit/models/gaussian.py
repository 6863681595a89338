"""The linear Gaussian toy of Rainforth et al. 2018, section 4, with everything about it that is known in closed form."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from snrkit.core.streams import Streams
from snrkit.models.base import Posterior, parse_options
from snrkit.models.densities import DiagonalNormal, standard_normal_log_prob
from snrkit.models.standard import StandardNormalPrior
from snrkit.models.summary import DataSummary
from snrkit.specs.base import Spec

PROPOSAL_VARIANCE = 2 / 3


class GaussianOptions(Spec):
    """Options of ``gaussian``.

    Attributes:
        perturb: standard deviation of the normal noise added to every coordinate of the optimum.
    """

    perturb: Annotated[float, Field(ge=0)] = 0.01


class Gaussian(StandardNormalPrior):
    """z ~ N(mu, I), x|z ~ N(z, I), q(z|x) = N(A x + b, 2/3 I); theta = {mu}, phi = {A, b}.

    Args:
        mu: ``[D]``.
        A: ``[D, D]``.
        b: ``[D]``.
    """

    def __init__(self, mu: Tensor, A: Tensor, b: Tensor) -> None:
        super().__init__()
        self.latent = len(mu)
        self.A = nn.Parameter(A)
        self.b = nn.Parameter(b)
        self.mu = nn.Parameter(mu)

    @classmethod
    def optimum(cls, data_mean: Tensor) -> "Gaussian":
        """Maximum likelihood mu = mean of x, and the best proposal mean for it, A = I/2, b = mu/2.

        Args:
            data_mean: mean of the data, ``[D]``.
        """
        return cls(data_mean.clone(), 0.5 * torch.eye(data_mean.shape[0], dtype=data_mean.dtype), 0.5 * data_mean)

    def encode(self, x: Tensor) -> DiagonalNormal:
        """Data ``[B, D]`` to N(A x + b, 2/3 I)."""
        return DiagonalNormal(x @ self.A.T + self.b, x.new_full((1, 1), math.sqrt(PROPOSAL_VARIANCE)))

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, D]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        return standard_normal_log_prob(z - self.mu) + standard_normal_log_prob(x - z)

    def log_prior(self, z: Tensor) -> Tensor:
        """log N(z; mu, I): ``[..., D]`` to ``[...]``."""
        return standard_normal_log_prob(z - self.mu)

    def kl_to_prior(self, posterior: Posterior, z: Tensor) -> Tensor:
        """KL(N(A x + b, 2/3 I), N(mu, I)), ``[B, 1, 1]``, nats."""
        return super().kl_to_prior(replace(posterior, loc=posterior.loc - self.mu), z)  # type: ignore[type-var, attr-defined]

    def from_prior(self, noise: Tensor) -> Tensor:
        """Noise ``[..., D]`` to mu + noise."""
        return self.mu + noise

    @property
    def dream_size(self) -> int:
        """``2 D``: first the noise of x, then that of z."""
        return 2 * self.latent

    def dream(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Noise ``[..., 2 D]`` to x and z, each ``[..., D]``."""
        z = self.from_prior(noise[..., self.latent :])
        return z + noise[..., : self.latent], z

    def regenerate(self, z: Tensor) -> Tensor:
        """mu + (z - mu) with the bracket constant: ``[..., D]``."""
        return self.mu + (z - self.mu).detach()

    def log_marginal(self, x: Tensor) -> Tensor:
        """Exact log p(x) = log N(x; mu, 2 I): ``[B, D]`` to ``[B]``, nats."""
        scaled = (x - self.mu) / math.sqrt(2)
        return standard_normal_log_prob(scaled) - 0.5 * x.shape[-1] * math.log(2)

    def log_marginal_gradient(self, x: Tensor) -> Tensor:
        """Exact gradient of log p(x) with respect to mu, (x - mu)/2: ``[B, D]`` to ``[B, D]``."""
        return (x - self.mu) / 2

    @torch.no_grad()
    def gradient_moments(self, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Exact mean and variance of each data point's gradient of log w, K = 1.

        With m = A x + b, z = m + s e and s^2 = 2/3, log q depends on the noise only, so the gradient in b is
        x + mu - 2 z, that in A its outer product with x, and that in mu is z - mu.

        Args:
            x: data ``[B, D]``.

        Returns:
            For "A", "b" and "mu": (mean, variance), each ``[B, *parameter shape]``.
        """
        m = x @ self.A.T + self.b
        mean_b = x + self.mu - 2 * m
        var_b = torch.full_like(x, 4 * PROPOSAL_VARIANCE)
        outer = torch.einsum("bi,bj->bij", mean_b, x), torch.einsum("bi,bj->bij", var_b, x.square())
        return {"A": outer, "b": (mean_b, var_b), "mu": (m - self.mu, torch.full_like(x, PROPOSAL_VARIANCE))}


def build(options: Mapping[str, Any], data: DataSummary, streams: Streams) -> Gaussian:
    """The model at its optimum for the training data, plus normal noise on every coordinate.

    Raises:
        SpecError: an invalid option.
    """
    data.require_numbers("gaussian")
    parsed: GaussianOptions = parse_options(GaussianOptions, "gaussian", options)
    model = Gaussian.optimum(data.mean)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            noise = streams.normal("perturb", (index,), parameter.shape, dtype=parameter.dtype, device=parameter.device)
            parameter.add_(parsed.perturb * noise)
    return model
