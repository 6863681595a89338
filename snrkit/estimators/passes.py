"""A training step whose minibatch of samples does not fit in memory at once: in how many passes, and their gradient.

Whether and how a step is taken in passes is a function of shapes and types, and of the kind of device, so a resumed run
does the same. The noise is that of a step in one pass; only the order of summation differs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from snrkit.backend.kernels import FastLinear
from snrkit.backend.memory import require_memory, within_memory
from snrkit.core.streams import Streams
from snrkit.estimators.base import Estimator, gradients
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


@dataclass(frozen=True)
class Passes:
    """How a step is taken in several passes.

    Attributes:
        M: outer samples per data point.
        K: importance samples.
        noise_shape: of the noise behind one sample.
        points: data points at once, whose noise is held.
        samples: samples at once, of which a graph is held; points with more are streamed in two passes.
    """

    M: int
    K: int
    noise_shape: tuple[int, ...]
    points: int
    samples: int

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
            shape = model.noise_shape(x)
            each = _saved_bytes_per_sample(model, estimator, x) + x.element_size() * (2 * math.prod(shape) + _HELD)
        if batch * M * K * each <= BUDGET:
            return None
        samples = max(_ROWS, BUDGET // 4 // each) if x.is_cuda else _ROWS
        points = max(1, min(batch, samples // (M * K))) if model.independent_points else batch
        found = cls(M, K, shape, points, samples)
        if not x.is_cuda:
            found._require(x.element_size())
        return found

    def _require(self, bytes_each: int) -> None:
        drawn = math.prod(self.noise_shape) * (4 if bytes_each == 4 else 4 + bytes_each)
        size = self.points * self.M * self.K * (drawn + _HELD * bytes_each)
        asked = f"{self.M * self.K:,} samples of {self.points} data points"
        require_memory("estimator.K", asked, size, "take fewer samples: a smaller `K` or `M`")

    def noise(
        self, streams: Streams, purpose: str, step: int, points: int, dtype: torch.dtype, device: torch.device
    ) -> Iterator[Tensor]:
        """The noise of a step on so many points, in portions ``[n, M, K, *noise_shape]`` of n points each."""
        shape = (self.M, self.K, *self.noise_shape)
        return streams.normal_rows(purpose, (step,), points, shape, self.points, dtype=dtype, device=device)

    def gradients(
        self,
        model: LatentModel,
        estimator: Estimator,
        x: Tensor,
        noise: Iterator[Tensor],
        generative: Sequence[Tensor],
        inference: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor], float]:
        """The estimate for both networks on a minibatch ``[B, *event]``, as ``estimators.base.gradients``, and the bound.

        Args:
            model: the model, a pure function of (parameters, x, noise).
            estimator: the estimator.
            x: the minibatch.
            noise: as ``noise`` gives it.
            generative: parameters of the generative network.
            inference: parameters of the inference network.
        """
        parameters = [*generative, *inference]
        total = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        bound, start = 0.0, 0
        for portion in noise:
            own = x[start : start + len(portion)]
            start += len(portion)
            theta, phi, log_w = self._portion(model, estimator, own, portion, generative, inference)
            for target, gradient in zip(total, [*theta, *phi], strict=True):
                target.add_(gradient, alpha=len(own) / len(x))
            bound += float(estimator.bound(log_w).sum(dtype=torch.float64)) / len(x)
        found = [target.to(parameter.dtype) for target, parameter in zip(total, parameters, strict=True)]
        return found[: len(generative)], found[len(generative) :], bound

    def _portion(
        self,
        model: LatentModel,
        estimator: Estimator,
        x: Tensor,
        noise: Tensor,
        generative: Sequence[Tensor],
        inference: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        if len(x) * self.M * self.K > self.samples:
            return streamed_gradients(model, estimator, x, noise, generative, inference, self.samples)
        with FastLinear():
            weights = model(x, noise, path=estimator.path)
        return *gradients(estimator, weights, list(generative), list(inference)), weights.log_w.detach()

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


def _saved_bytes_per_sample(model: LatentModel, estimator: Estimator, x: Tensor) -> int:
    """Bytes that a backward pass keeps for one more importance sample, found by two tiny passes."""
    few, many = (_saved_bytes(model, estimator, x[:1], K) for K in (2, 10))
    return max(1, (many - few) // 8)


def _saved_bytes(model: LatentModel, estimator: Estimator, x: Tensor, K: int) -> int:
    seen: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        # A graph that kept the very tensor would keep itself.
        held = tensor.detach()
        seen[storage.data_ptr()] = storage.nbytes(), held
        return held

    noise = x.new_zeros(1, 1, K, *model.noise_shape(x))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        surrogate = estimator.surrogate(model(x, noise, path=estimator.path))
    del surrogate
    return sum(size for size, _ in seen.values())
