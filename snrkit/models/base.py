"""What a latent-variable model is to the rest of the package."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from snrkit.config import ModelSpec
from snrkit.errors import CapabilityError, SpecError
from snrkit.logweights import LogWeights
from snrkit.models import MODELS
from snrkit.streams import Streams

Network = Literal["inference", "generative"]


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


class LatentModel(nn.Module, ABC):
    """A model p(x, z) with an amortised proposal q(z|x).

    A subclass defines ``encode`` and ``log_joint``. It draws no random numbers itself: noise is an argument, so every
    estimate is a pure function of (parameters, x, noise). Log-weights of one data point must not depend on the others
    unless ``independent_points`` is set to False; then only whole-batch (direct) measurements are offered.
    """

    independent_points: bool = True

    @abstractmethod
    def encode(self, x: Tensor) -> Posterior:
        """The proposal for data ``[B, *event]``."""

    @abstractmethod
    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) in nats.

        Args:
            x: data as ``[B, 1, 1, *event]``, ready to broadcast against z.
            z: samples ``[B, M, K, D]``.

        Returns:
            Shape ``[B, M, K]``.
        """

    def forward(self, x: Tensor, noise: Tensor, path: bool = False) -> LogWeights:
        """Log importance weights for given data and noise.

        Args:
            x: data ``[B, *event]``.
            noise: standard normal, ``[B, M, K, *noise_shape]``.
            path: also give log q with the proposal's parameters detached.

        Returns:
            ``LogWeights`` of shape ``[B, M, K]``.
        """
        posterior = self.encode(x)
        z = posterior.sample(noise)
        log_q_path = posterior.detached().log_prob(z) if path else None
        return LogWeights(self.log_joint(x[:, None, None], z), posterior.log_prob(z), log_q_path)

    def noise_shape(self, x: Tensor) -> tuple[int, ...]:
        """Shape of the noise behind one importance sample, for data ``[B, *event]``."""
        with torch.no_grad():
            return self.encode(x[:1]).noise_shape

    def networks(self, x: Tensor) -> dict[str, Network]:
        """To which network each trainable parameter belongs, found by asking autograd what ``encode`` reaches.

        Args:
            x: any valid data ``[B, *event]``.

        Returns:
            Parameter name to network; parameters that the log-weights do not depend on are absent.

        Raises:
            CapabilityError: a parameter is used by both networks, so that its gradient has no single definition.
        """
        trained = [item for item in self.named_parameters() if item[1].requires_grad]
        if not trained:
            return {}
        names, parameters = zip(*trained, strict=True)
        posterior = self.encode(x[:1])
        noise = x.new_zeros(1, 1, 1, *posterior.noise_shape)
        z = posterior.sample(noise)
        reached_q = _reached(z.sum() + posterior.log_prob(z).sum(), parameters)
        reached_p = _reached(self.log_joint(x[:1, None, None], z.detach()).sum(), parameters)
        found: dict[str, Network] = {}
        for name, in_q, in_p in zip(names, reached_q, reached_p, strict=True):
            if in_q and in_p:
                remedy = "override LatentModel.networks to say which network it counts to"
                raise CapabilityError(name, "is used by encode and by log_joint", remedy)
            if in_q or in_p:
                found[name] = "inference" if in_q else "generative"
        return found


def _reached(value: Tensor, parameters: tuple[nn.Parameter, ...]) -> list[bool]:
    if not value.requires_grad:
        return [False] * len(parameters)
    return [gradient is not None for gradient in torch.autograd.grad(value, parameters, allow_unused=True)]


def call_with(model: nn.Module, tensors: Mapping[str, Tensor], *arguments: Any) -> Any:
    """``model(*arguments)`` with other parameters and buffers.

    Each place where a module holds a tensor is swapped once, however many names it has in the model. torch's own tying goes
    by names; it would swap a module that is reached in two ways twice, and leave the exchanged tensor there for good.

    Args:
        model: the model; it is as before afterwards.
        tensors: by their names in ``named_parameters`` or ``named_buffers``; what is left out stays the model's own.
        arguments: of the call.
    """
    first: dict[int, str] = {}
    places: dict[str, Tensor] = {}
    for prefix, module in model.named_modules():
        held = (module.named_parameters, module.named_buffers)
        for place, own in itertools.chain(*(f(prefix, recurse=False, remove_duplicate=False) for f in held)):
            name = first.setdefault(id(own), place)
            if name in tensors:
                places[place] = tensors[name]
    return torch.func.functional_call(model, places, arguments, tie_weights=False)


@dataclass(frozen=True)
class DataSummary:
    """What a model may know of the training data when it is built.

    Attributes:
        mean: mean of each input dimension over the training set, shape ``[P]``, float64; grey values lie in [0, 1].
        real: True for real-valued data, False for images with values in [0, 1].
        numbers: what real-valued data are, with their range, in words for an error message.
        remedy: what makes them pixels.
    """

    mean: Tensor
    real: bool
    numbers: str = ""
    remedy: str = ""

    def require_pixels(self, model: str) -> None:
        """See to it that the data are pixels.

        Raises:
            SpecError: they are real-valued.
        """
        if self.real:
            remedy = f"{self.remedy}, or choose model gaussian" if self.remedy else "choose model gaussian"
            numbers = f" ({self.numbers})" if self.numbers else ""
            problem = f"{model} models pixels in [0, 1], and the data are real-valued{numbers}"
            raise SpecError("model", problem, remedy)


def build_model(spec: ModelSpec, data: DataSummary, seed: int) -> LatentModel:
    """A freshly initialised model, in float32 on the CPU.

    Args:
        spec: registered name and options.
        data: summary of the training set.
        seed: root seed; the initial parameters are a function of it.

    Raises:
        SpecError: unknown name or option, or data that the model cannot take.
    """
    streams = Streams(seed)
    # torch's layers initialise themselves from the global generator; it is lent to them and put back.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(streams.integer("init"))
        model: LatentModel = MODELS.load(spec.name)(spec.options, data, streams)
    return model


def check_log_weights(model: LatentModel, x: Tensor) -> None:
    """Try a model on one data point with M = 2, K = 3 and say what is wrong with its shapes, if anything.

    Args:
        model: the model, on the device of x.
        x: data ``[B, *event]``.

    Raises:
        SpecError: ``encode`` or ``log_joint`` fails or gives another shape than ``[B, M, K]``.
    """
    try:
        with torch.no_grad():
            weights = model(x[:1], x.new_zeros(1, 2, 3, *model.noise_shape(x[:1])))
    except (RuntimeError, IndexError, TypeError) as error:
        shape = tuple(x.shape)
        raise SpecError(
            "model", f"fails on data of shape {shape} ({_first_line(error)})", "give data it was made for"
        ) from None
    for part, value in (("log_joint", weights.log_p), ("log_prob", weights.log_q)):
        if value.shape != (1, 2, 3):
            problem = f"{part} returned shape {tuple(value.shape)} where [B, M, K] = (1, 2, 3) was due"
            raise SpecError("model", problem, "sum over data and latent dimensions only")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else error.__class__.__name__


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
        known = ", ".join(kind.model_fields)
        raise SpecError(f"{name}.{option}", f"{first['msg'].lower()}", f"the options of {name} are: {known}") from None
