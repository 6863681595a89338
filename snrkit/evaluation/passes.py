"""How many samples, and of how many test points, an evaluation computes at once.

A CPU is fastest with one point at a time, a few thousand samples of it at once: what more points add no longer lies in its
cache. A CUDA device takes as many points as its memory allows, up to where more gain nothing.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from snrkit.backend.kernels import fast_linear
from snrkit.backend.memory import available_on, out_of_memory
from snrkit.core.logweights import Parts
from snrkit.core.streams import Streams
from snrkit.models.base import LatentModel
from snrkit.models.state import uncompiled

# Points ``[n, *event]`` and noise ``[n, 1, k, *noise_shape]`` to log-weights ``[n, 1, k]``.
Weigh: TypeAlias = Callable[[Tensor, Tensor], Tensor]

# Samples at once on a CPU.
_ROWS = 2048
# At most on a GPU: 26 points of 5,000 samples each.
_MOST = 2**17
# Numbers of one point that are drawn at once on a CPU: 4 MiB; and by how many threads at most.
_HELD, _THREADS = 2**20, 16
# Of the memory that is free, a pass is to take one part in so many.
_SHARE = 4
# Samples of one point in the tiny passes that find out what one takes.
_FEW, _SOME = 8, 16


@dataclass(frozen=True)
class Pass:
    """What is computed at once.

    Attributes:
        rows: samples, of all points of a pass together; at least 1.
        many: whether a pass may be of several points.
    """

    rows: int
    many: bool = False

    def points(self, samples: int) -> int:
        """Points of a pass, each with so many samples."""
        return max(1, self.rows // samples) if self.many else 1

    def parts(self, points: int, samples: int) -> Iterator[range]:
        """The numbers of all points, those of one pass at a time."""
        size = self.points(samples)
        return (range(start, min(points, start + size)) for start in range(0, points, size))


def one_pass(model: LatentModel, x: Tensor) -> Pass:
    """What suits a model where its points ``[N, *event]`` lie; here alone the kind of device decides.

    Args:
        model: the model, in evaluation mode.
        x: the points.
    """
    return pass_within(model, x, available_on(x.device)) if x.is_cuda else Pass(_ROWS)


@torch.no_grad()
def pass_within(model: LatentModel, x: Tensor, free: int) -> Pass:
    """A pass of several points within free memory, or of one point where the model takes but one.

    Args:
        model: the model, in evaluation mode.
        x: points ``[N, *event]``.
        free: bytes.
    """
    shape = model.noise_shape(x)
    many = takes_many(model, x, shape)
    return Pass(rows_within(free, bytes_per_sample(model, x, shape)), many)


def rows_within(free: int, each: int) -> int:
    """Samples at once that leave three quarters of the free bytes free, ``each`` bytes one; at least one."""
    return max(1, min(_MOST, free // _SHARE // max(1, each)))


def takes_many(model: LatentModel, x: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether two points at once get the log-weights that each gets alone; a user's model may take one point only.

    Args:
        model: the model.
        x: points ``[N, *event]``.
        shape: of the noise behind one sample.
    """
    if len(x) < 2 or not model.independent_points:
        return False
    noise = _some_noise(x, 2, 3, shape)
    try:
        both = model(x[:2], noise).log_w
        alone = torch.cat([model(x[i : i + 1], noise[i : i + 1]).log_w for i in range(2)])
    except Exception:  # of whatever kind, from the user's code; one point at a time it is told as ever
        return False
    if both.shape != alone.shape:
        return False
    apart = torch.finfo(both.dtype).eps ** 0.5
    return torch.allclose(both, alone, rtol=apart, atol=apart, equal_nan=True)


def bytes_per_sample(model: LatentModel, x: Tensor, shape: tuple[int, ...]) -> int:
    """Bytes that one more sample of a point makes without a graph; all at once would be the most that it holds.

    Args:
        model: the model.
        x: points ``[N, *event]``, N at least 1.
        shape: of the noise behind one sample.
    """
    found: list[int] = []
    for samples in (_FEW, _SOME):
        noise = _some_noise(x, 1, samples, shape)
        with uncompiled(), _Made() as made:
            model(x[:1], noise)
        found.append(made.bytes + noise.nbytes)
    return max(1, (found[1] - found[0]) // (_SOME - _FEW))


def _some_noise(x: Tensor, points: int, samples: int, shape: tuple[int, ...]) -> Tensor:
    """Numbers between -1 and 1 in the place of noise, ``[points, 1, samples, *shape]``: no stream is touched."""
    noise = x.new_empty(points, 1, samples, *shape)
    return torch.linspace(-1, 1, noise.numel(), dtype=x.dtype, device=x.device).view_as(noise)


class _Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within the block, counts the bytes of new tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let everything pass."""
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        self.bytes += sum(t.nbytes for t in _tensors(found) if t.untyped_storage().data_ptr() not in given)
        return found


def _tensors(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


class Noise:
    """The noise of points, each from its own stream, whatever its company.

    Args:
        streams: the source.
        samples: of each point.
        shape: of the noise behind one sample.
        like: a tensor of its type, where it goes.
    """

    def __init__(self, streams: Streams, samples: int, shape: tuple[int, ...], like: Tensor) -> None:
        self._streams, self._samples, self._shape, self._like = streams, samples, shape, like
        # On a CPU as many points' numbers are drawn at once as there are threads to draw them, where they are few.
        single = like.is_cuda or samples * math.prod(shape) > _HELD
        self._ahead = 1 if single else min(_THREADS, torch.get_num_threads())
        self._drawn: dict[int, Tensor] = {}

    def portions(self, point: int, rows: int, points: int) -> Iterator[Tensor]:
        """Of one point of so many ``[n, *shape]``, at most ``rows`` at a time."""
        if self._ahead == 1 or points == 1:
            size = self._samples, self._shape, rows
            return self._streams.normal_rows(
                "evaluate", (point,), *size, dtype=self._like.dtype, device=self._like.device
            )
        if point not in self._drawn:
            numbers = range(point, min(points, point + self._ahead))
            # numpy lets go of the interpreter while it draws.
            with ThreadPoolExecutor(len(numbers)) as pool:
                self._drawn = dict(zip(numbers, pool.map(self._whole, numbers), strict=True))
        return iter(torch.split(self._drawn.pop(point), rows))

    def together(self, points: range) -> Tensor:
        """Of several points, ``[len(points), samples, *shape]``."""
        every = [piece for point in points for piece in self.portions(point, self._samples, 1)]
        return torch.cat(every).view(len(points), self._samples, *self._shape)

    def _whole(self, point: int) -> Tensor:
        size = self._samples, *self._shape
        return self._streams.normal("evaluate", (point,), size, dtype=self._like.dtype, device=self._like.device)


def fill_log_weights(model: LatentModel, x: Tensor, points: range, noise: Noise, rows: int, log_w: Tensor) -> None:
    """Log-weights of the points of one pass.

    Args:
        model: the model, in evaluation mode, without gradients.
        x: all points ``[N, *event]``.
        points: the numbers of those of the pass.
        noise: of all points.
        rows: samples of one point at once where the pass is of one.
        log_w: where they go, ``[len(points), samples]``.
    """
    own, start = x[points.start : points.stop], 0
    with fast_linear(x.device):
        if len(points) > 1:
            log_w.copy_(_in_halves(partial(_weigh, model), own, noise.together(points)))
            return
        weigh = _weighing(model, own) if log_w.shape[1] > rows else partial(_weigh, model)
        for portion in noise.portions(points.start, rows, len(x)):
            log_w[:, start : start + len(portion)].copy_(_in_halves(weigh, own, portion[None]))
            start += len(portion)


def _weigh(model: LatentModel, x: Tensor, noise: Tensor) -> Tensor:
    """Log-weights ``[n, 1, k]``."""
    return model(x, noise).log_w  # type: ignore[no-any-return]


def _weighing(model: LatentModel, x: Tensor) -> Weigh:
    """``_weigh`` for several portions of the noise of one point, whose proposal is computed once where nothing can tell."""
    if type(model).forward is not LatentModel.forward or model._forward_hooks or model._forward_pre_hooks:
        return partial(_weigh, model)
    posterior = model.proposal(x)
    return lambda x, noise: model.weights_of(posterior, x, noise, Parts(), model.log_joint).log_w


def _in_halves(weigh: Weigh, x: Tensor, noise: Tensor) -> Tensor:
    """Log-weights of noise ``[n, k, *noise_shape]`` for points ``[n, *event]``, ``[n, k]``; in halves where memory runs out.

    A sample's log-weight does not depend on the others in its pass, but for the last bits of matrix products.
    """
    try:
        return weigh(x, noise[:, None]).flatten(1)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error) or noise.shape[:2].numel() == 1:
            raise
    # Outside of the handler, whose traceback keeps the tensors of what failed.
    if len(x) > 1:
        halves = zip(x.tensor_split(2), noise.tensor_split(2), strict=True)
        return torch.cat([_in_halves(weigh, own, half) for own, half in halves])
    return torch.cat([_in_halves(weigh, x, half) for half in noise.tensor_split(2, dim=1)], dim=1)
