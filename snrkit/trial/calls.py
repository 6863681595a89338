"""Calls of a model under trial: in its own type and in float64, always from the same state of generators."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from snrkit.backend.process import Generators, seed_generators
from snrkit.core.batches import Batch, leaves, on, points, take, transform
from snrkit.core.streams import Streams
from snrkit.errors import NonFiniteError
from snrkit.models.base import LatentModel
from snrkit.models.calling import call_with, parameters_of, shown
from snrkit.models.draw import drawn
from snrkit.models.state import Snapshot

M, K = 2, 3
Tensors = dict[str, Tensor]
Values = tuple[Tensor, ...]
Found = TypeVar("Found")


class Host(nn.Module):
    """Lets any function of a model be called with other parameters."""

    def __init__(self, model: LatentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(model, *arguments)``."""
        return function(self.model, *arguments)


def weights(model: LatentModel, x: Batch, noise: Tensor) -> Values:
    """(log p, log q), each ``[B, M, K]``."""
    found = model(x, noise)
    return found.log_p, found.log_q


def sample(model: LatentModel, x: Batch, noise: Tensor) -> Values:
    """(z, log q)."""
    posterior = model.proposal(x)
    draw = drawn(posterior, noise, path=False)
    return draw.z, draw.log_q


class Caller:
    """A model, a few of its data points, and noise for them.

    Args:
        model: the model, in the mode under trial.
        x: data ``[B, *event]`` on its device and in its type.
        snapshot: the model's state, from which calls in float64 begin.

    Attributes:
        chosen: numbers of the one or two data points that calls are made on.
        x: these.
        other: as many others, or the same in another order; as they are where there is one.
        wide: these, and up to two others after them.
        noise: for them, ``[B', 2, 3, *noise_shape]``.
        double: parameters and buffers in float64, by the names that users know.
    """

    def __init__(self, model: LatentModel, x: Batch, snapshot: Snapshot) -> None:
        self.model, self.host, self._snapshot = model, Host(model), snapshot
        self.chosen = _different(x)
        self.x = take(x, self.chosen)
        rest = [i for i in range(min(points(x), 4)) if i not in self.chosen][:2]
        self.wide = take(x, [*self.chosen, *rest])
        self.other = take(x, rest if len(rest) == len(self.chosen) else self.chosen[::-1])
        parameter = next(model.parameters())
        shape = len(self.chosen), M, K, *model.noise_shape(self.x)
        self.noise = Streams(0).normal("trial", (), shape, dtype=parameter.dtype, device=parameter.device)
        self.double = {
            shown(name): own.detach().double() if own.is_floating_point() else own.detach().clone()
            for name, own in [*model.named_parameters(), *model.named_buffers()]
        }
        self._buffers = {shown(name) for name, _ in model.named_buffers()}
        self.trained = [name for name, own in parameters_of(model).items() if own.requires_grad]

    @property
    def points(self) -> int:
        """B', how many data points calls are made on: 1 or 2."""
        return points(self.x)

    def plain(self, x: Batch, noise: Tensor, seed: int = 0) -> Values:
        """(log p, log q) with the model's own tensors, in its own type."""
        seed_generators(seed)
        with torch.no_grad():
            return weights(self.model, x, noise)

    def advanced_by(self, x: Batch, noise: Tensor, seed: int = 0) -> tuple[Values, tuple[str, ...]]:
        """As ``plain``, and the generators that were drawn from."""
        seed_generators(seed)
        before = Generators()
        with torch.no_grad():
            found = weights(self.model, x, noise)
        return found, before.advanced()

    def exact(self, function: Callable[..., Found], tensors: Tensors, x: Batch, noise: Tensor) -> Found:
        """A function of the model in float64, with the given tensors in place of its own and without autocast.

        Every call begins from the same state: buffers are copies, which the model may write into.
        """
        self._snapshot.restore()
        seed_generators(0)
        device = noise.device.type
        tensors = {name: own.clone() if name in self._buffers else own for name, own in tensors.items()}
        with torch.autocast(device, enabled=False):
            return call_with(self.host, _hosted(tensors), function, doubled(x), noise.double())  # type: ignore[no-any-return]


def doubled(x: Batch) -> Batch:
    """The same data in float64; integers stay."""
    return on(x, next(leaves(x)).device, torch.float64)


def _hosted(tensors: Tensors) -> Tensors:
    return {f"model.{name}": tensor for name, tensor in tensors.items()}


def _different(x: Batch) -> list[int]:
    """The first data point and one that differs from it; where none does, the first two; where there is one, that."""
    if points(x) == 1:
        return [0]
    apart = torch.zeros(points(x), dtype=torch.bool, device=next(leaves(x)).device)
    for tensor in leaves(x):
        apart |= (tensor != tensor[:1]).flatten(1).any(dim=1) if tensor.ndim > 1 else tensor != tensor[:1]
    return [0, int(apart.int().argmax()) or 1]


def distance(a: Values, b: Values) -> float:
    """Largest deviation relative to the largest value, at least 1; infinite where one is finite and the other is not."""
    worst = 0.0
    for left, right in zip(a, b, strict=True):
        finite = torch.isfinite(left)
        if not torch.equal(finite, torch.isfinite(right)) or left.shape != right.shape:
            return float("inf")
        if finite.any():
            p, q = left[finite].double(), right[finite].double()
            worst = max(worst, float((p - q).abs().max() / p.abs().max().clamp(min=1)))
    return worst


def flipped(values: Values) -> Values:
    """With the data points in reverse order."""
    return tuple(value.flip(0) for value in values)


def reverse(x: Batch) -> Batch:
    """Data points in reverse order."""
    return transform(x, lambda tensor: tensor.flip(0))


def require_weights(values: Values, chosen: list[int]) -> float:
    """The share of log-weights that are -inf.

    Raises:
        NonFiniteError: some are NaN or +inf, or a sample lies where the proposal has no density.
    """
    log_p, log_q = values
    for name, value in (("log_joint", log_p), ("log_prob", log_q)):
        wrong = (torch.isnan(value) | (value == torch.inf)).flatten(1).any(dim=1)
        if bool(wrong.any()):
            problem = f"is NaN or infinite at data point {chosen[int(wrong.int().argmax())]}"
            raise NonFiniteError(name, problem, "check the model's parameters and the range of the data")
    if bool((log_q == -torch.inf).any()):
        raise NonFiniteError("log_prob", "is -inf at a sample of the proposal itself", "correct sample or log_prob")
    return float((log_p == -torch.inf).double().mean())
