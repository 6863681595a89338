"""A training step whose minibatch of samples does not fit in memory at once: in how many passes, and their gradient.

Whether and how a step is taken in passes is a function of shapes and types, and of the kind of device, so a resumed run
does the same. The noise is that of a step in one pass; only the order of summation differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from snrkit.backend.kernels import fast_linear
from snrkit.backend.memory import require_memory, within_memory
from snrkit.core.batches import Batch, points, take
from snrkit.core.logweights import LogWeights, Parts
from snrkit.core.objective import Gradients, NoiseKind, Objective, Wanted, pull
from snrkit.core.streams import Streams, dreams_of
from snrkit.estimators.base import Estimator
from snrkit.estimators.streamed import streamed_gradients
from snrkit.models.base import LatentModel
from snrkit.models.state import unchanged
from snrkit.specs.run import RunSpec

# Bytes that a step in one pass may keep (noise, samples, what autograd saves, log-weights):
# for the papers' model of 784 pixels some 200,000 samples.
BUDGET = 2**31
# Samples of a pass where there are several. On a CPU more gain nothing and take memory; a GPU wants many, and gets what a
# quarter of the budget holds.
_ROWS = 2048
# Numbers per sample that stay while a data point is streamed: log p, log q, their cotangents and the surrogate's graph.
_HELD = 16


def memory_for_step(spec: RunSpec) -> AbstractContextManager[None]:
    """A block in which a step is made; where memory runs out, one sentence says so."""
    samples = spec.estimator.M * spec.estimator.K
    asked = f"steps on {spec.batch_size:,} data points of {samples:,} samples"
    remedy = "take smaller steps (`batch_size`, `K`) or a smaller model; the last checkpoint is kept"
    return within_memory("batch_size", asked, remedy)


def forward_of(model: LatentModel, x: Tensor, parts: Parts) -> Callable[[Tensor], LogWeights]:
    """Noise to the log-weights of data ``[B, *event]``, as a step computes them: by the faster library's products."""

    def forward(noise: Tensor) -> LogWeights:
        with fast_linear(noise.device):
            weights: LogWeights = model(x, noise, **parts.asked)
        return weights

    return forward


@dataclass(frozen=True)
class Passes:
    """How a step is taken in several passes.

    Attributes:
        M: outer samples per data point.
        K: importance samples.
        noise_shape: of the noise behind one sample.
        points: data points at once, whose noise is held.
        samples: samples at once, of which a graph is held; points with more are streamed in two passes.
        dream_size: numbers behind one dream; 0 where none are wanted.
    """

    M: int
    K: int
    noise_shape: tuple[int, ...]
    points: int
    samples: int
    dream_size: int = 0

    @classmethod
    def needed(cls, model: LatentModel, estimator: Estimator, x: Tensor, batch: int, M: int, K: int) -> Self | None:
        """The passes of a step; None where it fits into one.

        Args:
            model: the model.
            estimator: the estimator.
            x: data ``[n, *event]``, n at least 1, on the model's device.
            batch: data points in a step.
            M: outer samples.
            K: importance samples.

        Raises:
            ResourceError: not even the noise and the log-weights of what must be held fit into this machine's memory.
        """
        with unchanged(model):
            shape, dream = model.noise_shape(x), model.dream_size if estimator.needs.sleep else 0
            numbers = math.prod(shape) + dream
            each = bytes_per_sample(model, estimator, x, x) + x.element_size() * (2 * numbers + _HELD)
        if batch * M * K * each <= BUDGET:
            return None
        samples = max(_ROWS, BUDGET // 4 // each) if x.is_cuda else _ROWS
        points = max(1, min(batch, samples // (M * K))) if model.independent_points else batch
        found = cls(M, K, shape, points, samples, dream)
        if not x.is_cuda:
            found._require(x.element_size())
        return found

    def _require(self, bytes_each: int) -> None:
        drawn = math.prod(self.noise_shape) * (4 if bytes_each == 4 else 4 + bytes_each)
        drawn += self.dream_size * (4 if bytes_each == 4 else 4 + bytes_each)
        size = self.points * self.M * self.K * (drawn + _HELD * bytes_each)
        asked = f"{self.M * self.K:,} samples of {self.points} data points"
        require_memory("estimator.K", asked, size, "take fewer samples: a smaller `K` or `M`")

    def noise(
        self, streams: Streams, purpose: str, step: int, points: int, dtype: torch.dtype, device: torch.device
    ) -> Iterator[Tensor]:
        """The noise of a step on so many points, in portions ``[n, M, K, *noise_shape]`` of n points each.

        Where dreams are wanted their noise stands behind it, from a stream of its own.
        """

        def rows(stream: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
            size = (self.M, self.K, *shape)
            return streams.normal_rows(stream, (step,), points, size, self.points, dtype=dtype, device=device)

        own = rows(purpose, self.noise_shape)
        if not self.dream_size:
            return own
        return (torch.cat(both, dim=-1) for both in zip(own, rows(dreams_of(purpose), (self.dream_size,)), strict=True))

    def step(
        self,
        objective: Objective,
        model: LatentModel,
        x: Tensor,
        noises: Callable[[NoiseKind], Iterator[Tensor]],
        wanted: Wanted,
    ) -> tuple[Gradients, Tensor]:
        """What one step on a minibatch ``[B, *event]`` ascends, as ``core.objective.step``.

        Args:
            objective: the objective.
            model: the model, a pure function of (parameters, x, noise).
            x: the minibatch.
            noises: a kind of noise to the noise of this step, as ``noise`` gives it.
            wanted: the parameters of the networks that take the step, at least one.
        """
        total = {network: [torch.zeros_like(p, dtype=torch.float64) for p in own] for network, own in wanted.items()}
        bounds = []
        for kind in objective.noises(wanted):
            bound, start = 0.0, 0
            for portion in noises(kind):
                own = x[start : start + len(portion)]
                start += len(portion)
                found, log_w = self._portion(model, objective, kind, own, portion, wanted)
                for network, gradients in found.items():
                    for target, gradient in zip(total[network], gradients, strict=True):
                        target.add_(gradient, alpha=len(own) / len(x))
                bound += float(objective.bound(log_w).sum(dtype=torch.float64)) / len(x)
            bounds.append(bound)
        own_type = {n: [t.to(p.dtype) for t, p in zip(total[n], wanted[n], strict=True)] for n in wanted}
        return own_type, torch.tensor(bounds[0], dtype=torch.float64)

    def _portion(
        self, model: LatentModel, objective: Objective, kind: NoiseKind, x: Tensor, noise: Tensor, wanted: Wanted
    ) -> tuple[Gradients, Tensor]:
        served, parts = objective.served(wanted, kind), objective.needs.parts
        if len(x) * self.M * self.K > self.samples:
            return streamed_gradients(model, served, parts, x, noise, wanted, self.samples)
        weights = forward_of(model, x, parts)(noise)
        return pull(served, weights, wanted), weights.log_w.detach()

    @torch.no_grad()
    def mean(self, model: LatentModel, x: Tensor, noise: Iterator[Tensor], value: Callable[[Tensor], Tensor]) -> Tensor:
        """The mean over a minibatch's points of what log-weights ``[n, M, K]`` give, ``[n]``; a float64 scalar."""
        start, total = 0, torch.zeros((), dtype=torch.float64, device=x.device)
        for portion in noise:
            own = x[start : start + len(portion)]
            start += len(portion)
            parts = torch.split(portion.flatten(1, 2)[:, None], max(1, self.samples // len(own)), dim=2)
            log_w = torch.cat([model(own, part).log_w for part in parts], dim=2)
            total += value(log_w.view(len(own), self.M, self.K)).sum(dtype=torch.float64)
        return total / len(x)


def bytes_per_sample(model: LatentModel, estimator: Estimator, x: Batch, like: Tensor) -> int:
    """Bytes that a backward pass keeps for one more importance sample, found by two tiny passes.

    Args:
        model: the model.
        estimator: the estimator.
        x: data ``[n, *event]``, n at least 1.
        like: a tensor of the noise's type, where the model is.
    """
    least, more = estimator.few_samples
    few, many = (_saved_bytes(model, estimator.objective, x, like, more + n * (more - least)) for n in (0, 8))
    return max(1, (many - few) // (8 * (more - least)))


def _saved_bytes(model: LatentModel, objective: Objective, x: Batch, like: Tensor, K: int) -> int:
    """Of one data point."""
    try:
        return _saved(model, objective, take(x, slice(0, 1)), like, K)
    except Exception:  # a batch normalisation, for one, may want more than one point
        if points(x) == 1:
            raise
        return _saved(model, objective, take(x, slice(0, 2)), like, K)


def _saved(model: LatentModel, objective: Objective, x: Batch, like: Tensor, K: int) -> int:
    seen: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        # Kept, so that its address is not used again; without its graph, or an output would hold itself and never be freed.
        return tensor.detach()

    parts = objective.needs.parts
    noise = like.new_zeros(points(x), 1, K, *model.shape_of_noise(x, parts))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        weights = model(x, noise, **parts.asked)
        held = [value(weights) for value in objective.served()]
    del held
    return sum(seen.values()) // points(x)
