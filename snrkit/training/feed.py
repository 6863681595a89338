"""What the steps of a run are fed with: minibatches and noise, functions of (seed, step)."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from snrkit.core.objective import NoiseKind
from snrkit.core.streams import Streams, dreams_of
from snrkit.data.base import Dataset
from snrkit.data.binarise import Batches
from snrkit.estimators.passes import Passes
from snrkit.training.state import State

# Normal numbers: 16 MiB in float32.
_DRAWN_AT_ONCE = 2**22
# The stream of each kind of noise.
_PURPOSES: dict[NoiseKind, str] = {"shared": "train", "own": "train-inference"}


class Feed:
    """Minibatches and noise.

    Args:
        state: at which step the run is.
        dataset: its data.
        device: where they go.
        noise_shape: of the noise behind one sample.
        passes: how a step is taken that does not fit into one pass; None where it does.

    Attributes:
        device: where they go.
        dtype: their type.
        size: data points in a step, the last of an epoch excepted.
        steps: steps to an epoch.
        ahead: steps for which points and noise are drawn at once; a function of the spec and the kind of device.
    """

    def __init__(
        self,
        state: State,
        dataset: Dataset,
        device: torch.device,
        noise_shape: tuple[int, ...],
        passes: Passes | None,
    ) -> None:
        spec = state.spec
        self._state, self.device, self.size = state, device, spec.batch_size
        self.dtype: torch.dtype = getattr(torch, spec.dtype)
        self.streams, self.passes = Streams(spec.seed), passes
        self.batches = Batches(dataset, spec.data, self.streams, self.dtype, device)
        self.steps = math.ceil(len(self.batches) / spec.batch_size)
        self._samples, self._noise_shape = (spec.estimator.M, spec.estimator.K), noise_shape
        numbers = spec.batch_size * math.prod((*self._samples, *noise_shape))
        # On a GPU many small draws cost more than the step itself; on a CPU it makes no difference.
        single = device.type == "cpu" or passes is not None
        self.ahead = 1 if single else max(1, min(self.steps, _DRAWN_AT_ONCE // numbers))
        self._drawn: dict[str, tuple[int, Tensor]] = {}

    def begin_epoch(self) -> None:
        """Shuffle the data points."""
        self._order = self.streams.permutation("shuffle", (self._state.epoch,), len(self.batches)).to(self.device)

    @property
    def first(self) -> int:
        """The step that the present block of ``ahead`` steps begins with, which keys what is drawn for it."""
        return self._state.step - self._state.position % self.ahead

    @property
    def points(self) -> int:
        """Data points in the present step."""
        return min(self.size, len(self.batches) - self._state.position * self.size)

    def batch(self) -> Tensor:
        """The minibatch of the present step, ``[B, P]``."""
        return self._rows("points", self._points)

    def noise(self, purpose: str, points: int) -> Tensor:
        """Noise of the present step, ``[points, M, K, *noise_shape]``."""
        return self._normal(purpose, points, self._noise_shape)

    def block(self, *, dreams: bool) -> tuple[Tensor, Tensor]:
        """Points ``[n, *event]`` of the present block, and the shared noise ``[ahead B, M K, *noise_shape]`` of its steps.

        The same numbers as ``batch`` and ``noises`` give step by step, and not kept; n is ``ahead`` B or, at the end of an
        epoch, what is left. The noise of dreams stands behind the other if it is wanted.
        """
        purpose = _PURPOSES["shared"]
        noise = self._drawn_noise(purpose, self._noise_shape)
        if dreams:
            noise = torch.cat([noise, self._drawn_noise(dreams_of(purpose), (self._state.model.dream_size,))], dim=-1)
        return self._points(), noise.flatten(1, 2)

    def _points(self) -> Tensor:
        start = (self._state.position - self._state.position % self.ahead) * self.size
        return self.batches.train_batch(self._order[start : start + self.ahead * self.size], self.first)

    def _drawn_noise(self, purpose: str, each: tuple[int, ...]) -> Tensor:
        shape = (self.ahead * self.size, *self._samples, *each)
        return self.streams.normal(purpose, (self.first,), shape, dtype=self.dtype, device=self.device)

    def _normal(self, purpose: str, points: int, each: tuple[int, ...]) -> Tensor:
        return self._rows(purpose, lambda: self._drawn_noise(purpose, each))[:points]

    def noises(self, points: int, *, sleep: bool) -> Callable[[NoiseKind], Tensor]:
        """The noise of the present step by its kind, with that of dreams behind it if they are wanted."""

        def noise(kind: NoiseKind) -> Tensor:
            own = self.noise(_PURPOSES[kind], points)
            if not sleep:
                return own
            return torch.cat(
                [own, self._normal(dreams_of(_PURPOSES[kind]), points, (self._state.model.dream_size,))], dim=-1
            )

        return noise

    def portions(self, passes: Passes, purpose: str, points: int) -> Iterator[Tensor]:
        """The same numbers as ``noise`` a few points at a time, for a step that is taken in passes."""
        return passes.noise(self.streams, purpose, self._state.step, points, self.dtype, self.device)

    def portioned(self, passes: Passes, points: int) -> Callable[[NoiseKind], Iterator[Tensor]]:
        """The portions of the present step by the kind of noise."""
        return lambda kind: self.portions(passes, _PURPOSES[kind], points)

    def _rows(self, what: str, draw: Callable[[], Tensor]) -> Tensor:
        """The present step's rows of what is drawn for ``ahead`` steps at once, keyed by the first of them."""
        if self._drawn.get(what, (-1, None))[0] != self.first:
            self._drawn[what] = (self.first, draw())
        offset = self._state.position % self.ahead
        return self._drawn[what][1][offset * self.size : (offset + 1) * self.size]
