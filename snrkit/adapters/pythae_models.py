"""A model of pythae as a ``LatentModel``, with what it trains with and what its name says."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Independent, Normal
from torch.nn import functional as F  # noqa: N812 (as everybody calls it)

from snrkit.adapters.held import held_density
from snrkit.core import bounds
from snrkit.core.logweights import LogWeights, pooled
from snrkit.core.objective import Network, Term, apart
from snrkit.errors import CapabilityError, SpecError
from snrkit.estimators.base import Estimator, Theory, build_estimator, option
from snrkit.models.base import LatentModel
from snrkit.models.densities import DiagonalNormal, normal_log_prob, standard_normal_log_prob
from snrkit.models.draw import Draw, Drawn

SERVED = ("VAE", "BetaVAE", "IWAE", "MIWAE", "PIWAE", "CIWAE", "VAMP", "VAE_IAF")


@dataclass(frozen=True)
class Setting:
    """A gradient by name.

    Attributes:
        estimator: whose.
        M: outer samples.
        K: importance samples per outer sample.
    """

    estimator: Estimator
    M: int = 1
    K: int = 1

    def __str__(self) -> str:
        options = self.estimator.describe()
        return f"{self.estimator.name}{f' ({options})' if options else ''} at M={self.M}, K={self.K}"


@dataclass(frozen=True)
class PythaePiwae(Estimator):
    """phi: MIWAE over groups taken the other way plus IWAE of all samples; theta: IWAE of all samples (pythae 0.1.2).

    What pythae's coupled optimisers give its PIWAE: the encoder is not reset between the two backward passes, so it takes
    the decoder's gradient too. The K samples are ``groups`` groups, and the weights are normalised over the groups.

    Attributes:
        groups: its ``number_gradient_estimates``, which divides K.
    """

    name: ClassVar[str] = "pythae-piwae"
    groups: float = option(low=1, whole=True)

    def bound(self, log_w: Tensor) -> Tensor:
        """The generative network's bound, of all samples."""
        return bounds.iwae(pooled(log_w))

    def terms(self) -> tuple[Term, ...]:
        """Both networks on the same samples."""
        return apart(inference=self._summed, generative=self.own_bound)

    def _summed(self, weights: LogWeights) -> Tensor:
        grouped = weights.log_w.reshape(*weights.log_w.shape[:-1], int(self.groups), -1).transpose(-1, -2)
        return bounds.iwae(grouped.flatten(-3, -2)) + self.bound(weights.log_w)

    def require_samples(self, K: int) -> None:
        """See to it that K samples fall into the groups.

        Raises:
            SpecError: they do not.
        """
        if K % int(self.groups):
            raise SpecError(
                "K", f"{K} samples are no {int(self.groups)} groups", f"give a multiple of {int(self.groups)}"
            )

    @property
    def few_samples(self) -> tuple[int, int]:
        """One and two samples to a group."""
        return int(self.groups), 2 * int(self.groups)

    @property
    def theory(self) -> Theory:
        """Groups of fixed size: more samples are more groups."""
        return Theory((0.5, 0.5), (0.5, 0.5), "phi: a sum of two bounds; theta: the K-sample bound", "derived here")


class FromPythae(LatentModel):
    """A model of pythae, whose encoder, decoder and prior stay what they are.

    Args:
        model: of pythae.

    Attributes:
        trains: the gradient that pythae's training loop takes.
        says: the gradient that the model's name stands for.
        remarks: where the two differ, and what else a reader should know, in sentences.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.of_pythae = model
        self.trains, self.says, self.remarks = _settings(model)

    def encode(self, x: Tensor) -> Any:
        """Data ``[B, *event]`` to the encoder's normal, with the flow behind it if there is one."""
        out = self.of_pythae.encoder(x)
        normal = DiagonalNormal(out.embedding, (0.5 * out.log_covariance).exp())
        return normal if self._flow is None else Iaf(self, x, normal)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """x ``[B, 1, 1, *event]``, z ``[B, M, K, D]`` to ``[B, M, K]``."""
        means = self.of_pythae.decoder(z.reshape(-1, z.shape[-1]))["reconstruction"].reshape(*z.shape[:3], -1)
        flat = x.reshape(*x.shape[:3], -1).expand_as(means)
        if self.of_pythae.model_config.reconstruction_loss == "bce":
            log_lik = -F.binary_cross_entropy(means, flat, reduction="none").sum(dim=-1)
        else:
            log_lik = standard_normal_log_prob(flat - means)
        return log_lik + self.log_prior(z)

    def log_prior(self, z: Tensor) -> Tensor:
        """Standard normal, or VampVAE's mixture: z ``[..., D]`` to ``[...]``."""
        if not self._is_vamp:
            return standard_normal_log_prob(z)
        return self._mixture(z)

    def _mixture(self, z: Tensor) -> Tensor:
        """VampVAE's: the proposals of its pseudo-inputs, each as probable."""
        number = self.of_pythae.number_components
        inputs = self.of_pythae.pseudo_inputs(torch.eye(number, dtype=z.dtype, device=z.device))
        out = self.of_pythae.encoder(inputs.reshape(number, *self.of_pythae.model_config.input_dim))
        own = z.unsqueeze(-2)
        each = normal_log_prob(
            own,
            out.embedding.expand_as(own.expand(*z.shape[:-1], *out.embedding.shape)),
            (0.5 * out.log_covariance).exp(),
        )
        return torch.logsumexp(each, dim=-1) - math.log(number)

    def prior_distribution(self) -> Any:
        """Standard normal.

        Raises:
            CapabilityError: it is VampVAE's mixture.
        """
        if self._is_vamp:
            raise CapabilityError("prior_distribution", "VampVAE's prior is a mixture of its own", "choose vae")
        like = next(self.parameters())
        zero = like.new_zeros(self.of_pythae.latent_dim)
        return Independent(Normal(zero, torch.ones_like(zero), validate_args=False), 1, validate_args=False)

    def networks(self, x: Tensor) -> dict[str, Network]:
        """Encoder and flow; decoder and VampVAE's pseudo-inputs. Its prior calls the encoder, which stays the encoder."""
        return {
            name: "inference" if in_q else "generative"
            for name, (in_q, in_p) in self.reached(x).items()
            if in_q or in_p
        }

    def loss(self, _model: Any, x: Tensor) -> Tensor:
        """pythae's own loss of data ``[B, *event]``, for ``measure_loss(adapted.loss, model, x)``."""
        from pythae.data.datasets import DatasetOutput

        value: Tensor = self.of_pythae(DatasetOutput(data=x)).loss
        return value

    @property
    def _is_vamp(self) -> bool:
        return bool(self.of_pythae.model_name == "VAMP")

    @property
    def _flow(self) -> Any:
        return getattr(self.of_pythae, "iaf_flow", None)


class Iaf(Drawn):
    """A normal proposal with pythae's inverse autoregressive flow behind it.

    Args:
        owner: the model.
        x: data ``[B, *event]``.
        base: the normal proposal for them.
    """

    def __init__(self, owner: FromPythae, x: Tensor, base: DiagonalNormal) -> None:
        self._owner, self._x, self.base = owner, x, base
        self._flow = owner.of_pythae.iaf_flow

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """``(D,)``."""
        return self.base.noise_shape

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """z itself, whose mean it is: ``[B, M, K, D]``."""
        return (self.sample(noise),)

    def draw(self, noise: Tensor, path: bool) -> Draw:
        """Of noise ``[B, M, K, D]``; see ``Drawn``."""
        first = self.base.sample(noise)
        # As its ``inverse``, which adds the determinant up in float32 whatever the model's type is.
        own, total = first.reshape(-1, first.shape[-1]), first.new_zeros(())
        for layer in reversed(self._flow.net):
            own = own.flip(-1)
            out = layer(own)
            own, total = own * out.log_var.exp() + out.mu, total + out.log_var.sum(dim=-1)
        z = own.reshape(noise.shape)
        log_q = self.base.log_prob(first) - total.reshape(noise.shape[:3])
        return Draw(z, log_q, held_density(self._owner, self._x, z) if path else None)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) at any z ``[B, M, K, D]``, coordinate by coordinate."""
        own, total = z.reshape(-1, z.shape[-1]), z.new_zeros(())
        for layer in self._flow.net:
            made = torch.zeros_like(own)
            for i in range(own.shape[-1]):
                out = layer(made)
                one = (own[:, i] - out.mu[:, i]) * (-out.log_var[:, i]).exp()
                made = torch.cat([made[:, :i], one[:, None], made[:, i + 1 :]], dim=-1)
                total = total - out.log_var[:, i]
            own = made.flip(-1)
        return self.base.log_prob(own.reshape(z.shape)) + total.reshape(z.shape[:3])


def _settings(model: Any) -> tuple[Setting, Setting, list[str]]:
    """What a model trains with, what its name says, and remarks."""
    made: dict[str, Callable[[Any], tuple[Setting, Setting, list[str]]]] = {
        "VAE": lambda _: _alike(Setting(build_estimator("vae-analytic", {}))),
        "BetaVAE": lambda own: _alike(Setting(build_estimator("vae-analytic", {"beta": own.beta}))),
        "IWAE": lambda own: _alike(Setting(build_estimator("iwae", {}), K=own.n_samples)),
        "CIWAE": lambda own: _alike(Setting(build_estimator("ciwae", {"beta": own.beta}), K=own.n_samples)),
        "VAE_IAF": lambda _: _alike(Setting(build_estimator("vae", {}))),
        "VAMP": _vamp,
        "MIWAE": _miwae,
        "PIWAE": _piwae,
    }
    return made[model.model_name](model)


def _alike(setting: Setting) -> tuple[Setting, Setting, list[str]]:
    return setting, setting, []


def _vamp(model: Any) -> tuple[Setting, Setting, list[str]]:
    remarks = []
    if model.linear_scheduling > 0:
        remarks.append(
            f"its KL has weight 1 here; pythae warms it up over {model.linear_scheduling} epochs of training"
        )
    return *_alike(Setting(build_estimator("vae", {})))[:2], remarks


def _miwae(model: Any) -> tuple[Setting, Setting, list[str]]:
    M, K = model.gradient_n_estimates, model.n_samples
    says = Setting(build_estimator("miwae", {}), M, K)
    return (says, says, []) if M == K else (Setting(says.estimator, K, M), says, [_swapped(says, "trains miwae", K, M)])


def _piwae(model: Any) -> tuple[Setting, Setting, list[str]]:
    M, K = model.gradient_n_estimates, model.n_samples
    says = Setting(build_estimator("piwae", {}), M, K)
    told = _swapped(says, "has the encoder loss of miwae", K, M)
    optimisers = (
        "its coupled optimisers do not reset the encoder before the decoder's loss, so that the encoder takes the sum of "
        "both gradients; BaseTrainer gives that sum to the decoder too"
    )
    return Setting(PythaePiwae(float(M)), 1, M * K), says, [told, optimisers]


def _swapped(says: Setting, what: str, M: int, K: int) -> str:
    return f"{says}: it normalises weights over number_gradient_estimates, and so {what} at M={M}, K={K}"
