"""What a latent-variable model is to the rest of the package."""

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from snrkit.backend.process import seeded
from snrkit.core.backward import derivatives, hides_parameters
from snrkit.core.batches import Batch, broadcastable, describe, points, take, transform
from snrkit.core.logweights import LogWeights, Parts
from snrkit.core.objective import Network
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, SpecError
from snrkit.models import MODELS
from snrkit.models.blame import users_code
from snrkit.models.calling import call_with, parameters_of
from snrkit.models.draw import drawn, joined
from snrkit.models.offers import Offers
from snrkit.models.size import require_model_room
from snrkit.models.summary import DataSummary
from snrkit.registry import hint
from snrkit.specs.run import ModelSpec

# Data points of a call that only asks what a model is like: batch statistics want more than one.
FEW = 2
_NOTHING = Parts()


@runtime_checkable
class Posterior(Protocol):
    """The proposal q(z|x) for a batch of B data points; ``DiagonalNormal`` is one."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes."""

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:
        """E_q[z_l | z_1, ..., z_{l-1}] of each stochastic layer l, at the samples that the noise stands for.

        Its mean over samples estimates E_q[z_l|x]. A layer whose mean is the same for every sample has sizes 1 there.

        Args:
            noise: ``[B, M, K, *noise_shape]``.

        Returns:
            Per layer ``[B, M, K, D_l]``, or ``[B, 1, 1, D_l]`` where it does not depend on the noise.
        """

    def sample(self, noise: Tensor) -> Tensor:
        """Noise ``[B, M, K, *noise_shape]`` to z ``[B, M, K, D]``, differentiable in the parameters."""

    def log_prob(self, z: Tensor) -> Tensor:
        """z ``[B, M, K, D]`` to log q(z|x) ``[B, M, K]``."""

    def detached(self) -> Self:
        """The same density with its parameters held constant."""


class LatentModel(Offers, ABC):
    """A model p(x, z) with an amortised proposal q(z|x).

    Data are a tensor, or a tuple, list or dict of tensors (labels, masks, lengths), whose first axis is the data point.

    A subclass defines ``encode`` and ``log_joint``. It draws no random numbers itself: noise is an argument, so every
    estimate is a pure function of (parameters, x, noise). Log-weights of one data point must not depend on the others
    unless ``independent_points`` is set to False; then only whole-batch (direct) measurements are offered.
    """

    independent_points: bool = True
    # Whether its networks take many steps one after another: of these no graph is captured, which would hold every kernel.
    unrolled: bool = False

    @abstractmethod
    def encode(self, x: Batch) -> Posterior:
        """The proposal for data ``[B, *event]``: one of ours, or what ``torch.distributions`` calls a distribution."""

    @abstractmethod
    def log_joint(self, x: Batch, z: Tensor) -> Tensor:
        """log p(x, z) in nats.

        Args:
            x: data as ``[B, 1, 1, *event]``, ready to broadcast against z; of structures every tensor.
            z: samples ``[B, M, K, D]``.

        Returns:
            Shape ``[B, M, K]``.
        """

    def proposal(self, x: Batch) -> Posterior:
        """What ``encode`` returned, as a ``Posterior``.

        Raises:
            CapabilityError: a distribution whose samples are no known function of normal or uniform noise.
            SpecError: no distribution at all, or one of another shape than is due.
        """
        from snrkit.models.distributions import as_posterior

        return as_posterior(self.encode(x), x)[0]

    def forward(self, x: Batch, noise: Tensor, path: bool = False, parts: Parts = _NOTHING) -> LogWeights:
        """Log importance weights for given data and noise.

        Args:
            x: data ``[B, *event]``.
            noise: standard normal, ``[B, M, K, *noise_shape]``; of ``parts.sleep`` with a dream's noise behind it, ``[B, M,
                K, E + dream_size]``.
            path: short for ``Parts(path=True)``: also give log q with the proposal's parameters detached.
            parts: what else to give.

        Returns:
            ``LogWeights`` of shape ``[B, M, K]``.

        Raises:
            CapabilityError: a part that the model does not offer.
        """
        return self.weights_of(self.proposal(x), x, noise, parts | Parts(path=path), self.log_joint)

    def weights_of(
        self,
        posterior: Posterior,
        x: Batch,
        noise: Tensor,
        parts: Parts,
        log_joint: Callable[[Batch, Tensor], Tensor],
    ) -> LogWeights:
        """``forward`` with a proposal, and a log p(x, z), put in place of the model's own; arguments as there."""
        own = noise[..., : posterior.noise_shape[0]] if parts.sleep else noise
        draw, log_p = joined(posterior, own, parts.path, lambda z: log_joint(broadcastable(x), z))
        again = self._again(posterior, x, draw.z) if parts.regenerated else (None, None)
        shape = noise.shape[:3]
        return LogWeights(
            log_p,
            draw.log_q,
            draw.log_q_path,
            self.log_prior(draw.z) if parts.prior or parts.regenerated else None,
            self.kl_to_prior(posterior, draw.z).expand(shape) if parts.kl else None,
            self._dreamt(noise[..., own.shape[-1] :]) if parts.sleep else None,
            *again,
        )

    def _dreamt(self, noise: Tensor) -> Tensor:
        """log q(z|x) at dreams of noise ``[B, M, K, dream_size]``: ``[B, M, K]``."""
        with torch.no_grad():
            x, z = self.dream(noise)
        one = transform(x, lambda tensor: tensor.flatten(0, 2))
        log_q: Tensor = self.proposal(one).log_prob(z.flatten(0, 2)[:, None, None])
        return log_q.view(noise.shape[:3])

    def _again(self, posterior: Posterior, x: Batch, z: Tensor) -> tuple[Tensor, Tensor]:
        """log p(x|z) and log w with constant densities at samples ``[B, M, K, D]`` made anew of the prior's parameters."""
        anew = self.regenerate(z.detach())
        held = {name: parameter.detach() for name, parameter in parameters_of(self).items()}
        log_p, log_prior = call_with(_Joint(self), {f"model.{name}": own for name, own in held.items()}, x, anew)
        return log_p - log_prior, log_p - posterior.detached().log_prob(anew)

    def noise_shape(self, x: Batch) -> tuple[int, ...]:
        """Shape of the noise behind one importance sample, for data ``[B, *event]``."""
        with torch.no_grad():
            return self.proposal(take(x, slice(0, FEW))).noise_shape

    def shape_of_noise(self, x: Batch, parts: Parts) -> tuple[int, ...]:
        """``noise_shape``, with the noise of a dream behind it where ``parts`` ask for one."""
        shape = self.noise_shape(x)
        return (*shape[:-1], shape[-1] + self.dream_size) if parts.sleep else shape

    def networks(self, x: Batch) -> dict[str, Network]:
        """To which network each trainable parameter belongs, found by asking autograd what ``encode`` reaches.

        Args:
            x: any valid data ``[B, *event]``.

        Returns:
            Parameter name to network; parameters that the log-weights do not depend on are absent.

        Raises:
            CapabilityError: a parameter is used by both networks, so that its gradient has no single definition.
        """
        found: dict[str, Network] = {}
        for name, (in_q, in_p) in self.reached(x).items():
            if in_q and in_p:
                remedy = "override LatentModel.networks to say which network it counts to"
                raise CapabilityError(name, "is used by encode and by log_joint", remedy)
            if in_q or in_p:
                found[name] = "inference" if in_q else "generative"
        return found

    def reached(self, x: Batch) -> dict[str, tuple[bool, bool]]:
        """Of each trainable parameter whether ``encode`` and whether ``log_joint`` depends on it, as autograd sees it."""
        trained = {name: own for name, own in parameters_of(self).items() if own.requires_grad}
        if not trained:
            return {}
        few = take(x, slice(0, FEW))
        posterior = self.proposal(few)
        parameter = next(iter(trained.values()))
        noise = parameter.new_zeros(points(few), 1, 1, *posterior.noise_shape)
        draw = drawn(posterior, noise, path=False)
        z, parameters = draw.z, tuple(trained.values())
        in_q = _reached(self, z.sum() + draw.log_q.sum(), parameters)
        # With a graph to z, without which a reentrant checkpoint gives no gradients.
        still = z.detach().requires_grad_(z.is_floating_point())
        in_p = _reached(self, self.log_joint(broadcastable(few), still).sum(), parameters)
        return dict(zip(trained, zip(in_q, in_p, strict=True), strict=True))


class _Joint(nn.Module):
    """log p(x, z) and log p(z) of a model as a forward pass, to be called with other parameters."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Batch, z: Tensor) -> tuple[Tensor, Tensor]:
        """Of data ``[B, *event]`` and samples ``[B, M, K, D]``."""
        return self.model.log_joint(broadcastable(x), z), self.model.log_prior(z)


def _reached(model: nn.Module, value: Tensor, parameters: tuple[nn.Parameter, ...]) -> list[bool]:
    if not value.requires_grad:
        return [False] * len(parameters)
    if hides_parameters([value]):
        return [bool(found.any()) for found in derivatives(model, [value], parameters, hidden=True)]
    return [gradient is not None for gradient in torch.autograd.grad(value, parameters, allow_unused=True)]


def build_model(spec: ModelSpec, data: DataSummary, seed: int) -> LatentModel:
    """A freshly initialised model, in float32 on the CPU.

    Args:
        spec: registered name and options.
        data: summary of the training set.
        seed: root seed; the initial parameters are a function of it.

    Raises:
        SpecError: unknown name or option, or data that the model cannot take.
        ResourceError: its parameters cannot fit in memory.
    """
    streams, build = Streams(seed), MODELS.load(spec.name)
    require_model_room(build, spec, data)
    # torch's layers initialise themselves from its global generator, and a user's perhaps from numpy's.
    with seeded(streams.integer("init")):
        model: LatentModel = build(spec.options, data, streams)
    return model


def check_log_weights(model: LatentModel, x: Batch) -> LogWeights:
    """Try a model on a data point or two with M = 2, K = 3 and say what is wrong with its shapes, if anything.

    Args:
        model: the model, on the device of x.
        x: data ``[B, *event]``.

    Returns:
        The log-weights, at noise of zero.

    Raises:
        ModelError: ``encode`` or ``log_joint`` raises.
        SpecError: one of them gives no real tensor, or another shape than ``[B, M, K]``.
    """
    few = take(x, slice(0, FEW))
    wanted = points(few), 2, 3
    with torch.no_grad(), users_code("a trial call"):
        parameter = next(model.parameters())
        weights: LogWeights = model(few, parameter.new_zeros(*wanted, *model.noise_shape(few)))
    for part, value in (("log_joint", weights.log_p), ("log_prob", weights.log_q)):
        if not isinstance(value, Tensor):
            problem = f"{part} returned {type(value).__name__} where a tensor [B, M, K] was due"
            raise SpecError("model", problem, "return log densities in nats, one for each sample")
        if not value.is_floating_point():
            raise SpecError("model", f"{part} returned {describe(value)}", "return real log densities in nats")
        if value.shape != wanted:
            problem = f"{part} returned shape {tuple(value.shape)} where [B, M, K] = {wanted} was due"
            raise SpecError("model", problem, "sum over data and latent dimensions only")
    return weights


def parse_options(kind: Any, name: str, options: Mapping[str, Any]) -> Any:
    """Options of a registered object as an instance of its pydantic ``kind``.

    Raises:
        SpecError: naming the option at fault and the options there are.
    """
    from pydantic import ValidationError

    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"])
        known = f"{hint(option, kind.model_fields)}the options of {name} are: {', '.join(kind.model_fields)}"
        unknown = first["type"] == "extra_forbidden"
        problem = "no such option" if unknown else f"{first['msg'].lower()}, got {reprlib.repr(first['input'])}"
        raise SpecError(f"{name}.{option}", problem, known if unknown else "correct it, or leave it out") from None
