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
        self._state, self._device, self._size = state, device, spec.batch_size
        self._dtype: torch.dtype = getattr(torch, spec.dtype)
        self.streams, self.passes = Streams(spec.seed), passes
        self.batches = Batches(dataset, spec.data, self.streams, self._dtype, device)
        self.steps = math.ceil(len(self.batches) / spec.batch_size)
        self._samples, self._noise_shape = (spec.estimator.M, spec.estimator.K), noise_shape
        numbers = spec.batch_size * math.prod((*self._samples, *noise_shape))
        # On a GPU many small draws cost more than the step itself; on a CPU it makes no difference.
        single = device.type == "cpu" or passes is not None
        self.ahead = 1 if single else max(1, min(self.steps, _DRAWN_AT_ONCE // numbers))
        self._drawn: dict[str, tuple[int, Tensor]] = {}

    def begin_epoch(self) -> None:
        """Shuffle the data points."""
        self._order = self.streams.permutation("shuffle", (self._state.epoch,), len(self.batches)).to(self._device)

    def batch(self) -> Tensor:
        """The minibatch of the present step, ``[B, P]``."""

        def draw(step: int, position: int) -> Tensor:
            points = self._order[position * self._size : (position + self.ahead) * self._size]
            return self.batches.train_batch(points, step)

        return self._rows("points", draw)

    def noise(self, purpose: str, points: int) -> Tensor:
        """Noise of the present step, ``[points, M, K, *noise_shape]``."""
        return self._normal(purpose, points, self._noise_shape)

    def _normal(self, purpose: str, points: int, each: tuple[int, ...]) -> Tensor:
        def draw(step: int, _: int) -> Tensor:
            shape = (self.ahead * self._size, *self._samples, *each)
            return self.streams.normal(purpose, (step,), shape, dtype=self._dtype, device=self._device)

        return self._rows(purpose, draw)[:points]

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
        return passes.noise(self.streams, purpose, self._state.step, points, self._dtype, self._device)

    def portioned(self, passes: Passes, points: int) -> Callable[[NoiseKind], Iterator[Tensor]]:
        """The portions of the present step by the kind of noise."""
        return lambda kind: self.portions(passes, _PURPOSES[kind], points)

    def _rows(self, what: str, draw: Callable[[int, int], Tensor]) -> Tensor:
        """The present step's rows of what is drawn for ``ahead`` steps at once, keyed by the first of them."""
        offset = self._state.position % self.ahead
        first = self._state.step - offset
        if self._drawn.get(what, (-1, None))[0] != first:
            self._drawn[what] = (first, draw(first, self._state.position - offset))
        return self._drawn[what][1][offset * self._size : (offset + 1) * self._size]
