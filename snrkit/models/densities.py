"""Densities that models are written with, in nats; each broadcasts and sums over the last axis.

In half precision a square or a product of a few hundred numbers leaves the range, and a sum of them loses its digits: there
float32 computes, and only the result is rounded.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from snrkit.backend.kernels import may_overwrite
from snrkit.core.logweights import widened

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
# The smallest product of so many values in [1/2, 1] is a normal float32.
_FACTORS = 98
# Bytes of logits that a CPU takes through all steps at once: few enough to stay in a cache, many enough that calls do not
# show. Rows go by so many, for the few numbers at an end that fill no vector are computed by other code, to other last bits.
_PORTION, _ROWS = 2**21, 64


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I), summed over the last axis: ``[..., D]`` to ``[...]``."""
    own = widened(z)
    return (-0.5 * own.square().sum(dim=-1) - z.shape[-1] * _HALF_LOG_2PI).to(z.dtype)


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Sum over pixels of log Bernoulli(x; sigmoid(logits)).

    Args:
        x: values in [0, 1] of any type, e.g. ``[B, 1, 1, P]``.
        logits: finite, of a shape that broadcasts against that of x, ``[..., P]``.

    Returns:
        Shape ``[...]``, in the type of ``logits``; where that is half precision and x is not, in the type of x.
    """
    shape = torch.broadcast_shapes(x.shape, logits.shape)  # type: ignore[no-untyped-call]
    logits = logits if shape == logits.shape else logits.expand(shape)
    wide = widened(logits)
    x = x if x.is_floating_point() else x.to(logits.dtype)
    result = logits.dtype if wide is logits else torch.promote_types(x.dtype, logits.dtype)
    call: Callable[[Tensor, Tensor], Tensor] = _Bernoulli.forward if may_overwrite() else _Bernoulli.apply
    return call(x if wide is logits else x.to(wide.dtype), wide).to(result)


class _Bernoulli(torch.autograd.Function):
    """x l - softplus(l), summed, in few passes: with s = sigmoid(|l|), softplus(l) = max(l, 0) - log s.

    One logarithm is taken of the product of up to 98 values of s, each in [1/2, 1], which float32 holds. On a CPU more
    logits of one image than a cache holds are taken in portions, which changes no bit of what one thread computes.
    """

    @staticmethod
    def forward(x: Tensor, logits: Tensor) -> Tensor:
        if logits.is_cuda:
            return _Bernoulli._in_few_passes(x, logits)
        image = _image_of(x, logits)
        if image is None:
            return _Bernoulli._value(x, logits)
        parts = [_Bernoulli._value(image, part) for part in _portions(logits)]
        return torch.cat(parts).view(logits.shape[:-1])

    @staticmethod
    def _value(x: Tensor, logits: Tensor) -> Tensor:
        # One buffer for all steps: writing to memory that is not in the cache would cost more than the arithmetic.
        buffer = logits.abs().sigmoid_()
        size = min(_FACTORS, logits.shape[-1])
        s = pad(buffer, (0, -logits.shape[-1] % size), value=1.0) if logits.shape[-1] % size else buffer
        log_s = s.view(*s.shape[:-1], -1, size).prod(dim=-1).log_().sum(dim=-1)
        return log_s.sub_(torch.clamp(logits, min=0, out=buffer).addcmul_(x, logits, value=-1).sum(dim=-1))

    @staticmethod
    def _in_few_passes(x: Tensor, logits: Tensor) -> Tensor:
        # log sigmoid(l) + (x - 1) l: a logarithm takes a GPU no time, but every pass over memory does.
        return torch.addcmul(logsigmoid(logits), x - 1, logits).sum(dim=-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *cotangents: Any) -> Any:
        x, logits = ctx.saved_tensors
        (cotangent,) = cotangents
        to_logits = _to_logits(x, logits, cotangent.unsqueeze(-1))
        if not ctx.needs_input_grad[0]:
            return None, to_logits
        to_x = cotangent.unsqueeze(-1) * logits
        return to_x.sum_to_size(x.shape), to_logits

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], x: Tensor, logits: Tensor) -> tuple[Tensor, int]:
        """A batch axis is one more axis to broadcast over; it comes first."""
        logits = logits.expand(info.batch_size, *logits.shape) if in_dims[1] is None else logits.movedim(in_dims[1], 0)
        if in_dims[0] is not None:
            x = x.movedim(in_dims[0], 0)
            x = x.reshape(info.batch_size, *[1] * (logits.ndim - x.ndim), *x.shape[1:])
        return _Bernoulli.apply(x, logits), 0  # type: ignore[no-untyped-call]


def _image_of(x: Tensor, logits: Tensor) -> Tensor | None:
    """The pixels ``[P]`` behind all rows of logits that are to be taken in portions; None where they are not."""
    if logits.device.type != "cpu" or logits.nbytes <= _PORTION or not logits.is_contiguous():
        return None
    every = x.expand_as(logits)
    leading = zip(every.stride()[:-1], every.shape[:-1], strict=True)
    return every[(0,) * (every.ndim - 1)] if all(not s or n == 1 for s, n in leading) else None


def _portions(rows: Tensor) -> Sequence[Tensor]:
    """Rows ``[..., P]`` as ``[n, P]``, a portion at a time."""
    fitting = _PORTION // max(1, rows.shape[-1] * rows.element_size())
    return torch.split(rows.reshape(-1, rows.shape[-1]), max(1, fitting // _ROWS) * _ROWS)


def _to_logits(x: Tensor, logits: Tensor, each: Tensor) -> Tensor:
    """(x - sigmoid(logits)) each."""
    image = _image_of(x, logits) if may_overwrite() else None
    if image is None or image.dtype != logits.dtype or each.dtype != logits.dtype:
        return _scaled(_residual(x, logits), each)
    found, start, scale = torch.empty_like(logits), 0, each.reshape(-1, 1)
    try:
        for part, own in zip(_portions(logits), _portions(found), strict=True):
            torch.sub(image, torch.sigmoid(part, out=own), out=own).mul_(scale[start : start + len(part)])
            start += len(part)
    except RuntimeError:  # as in ``_scaled``
        return _scaled(_residual(x, logits), each)
    return found


def _residual(x: Tensor, logits: Tensor) -> Tensor:
    """x - sigmoid(logits), a tensor of its own, in one piece of memory where that can be: a second costs as much again."""
    s = logits.sigmoid()
    return torch.sub(x, s, out=s) if may_overwrite() and x.dtype == s.dtype else x - s


def _scaled(residual: Tensor, each: Tensor) -> Tensor:
    """Their product, in place of the residual where that can be."""
    if not may_overwrite() or each.dtype != residual.dtype:
        return residual * each
    try:
        return residual.mul_(each)
    except RuntimeError:  # autograd's own batches of cotangents (``is_grads_batched``) show only here
        return residual * each


def normal_log_prob(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(z; loc, scale^2), summed over the last axis; scale of the shape of loc or broadcastable to it."""
    own, centre, spread = widened(z), widened(loc), widened(scale)
    value = standard_normal_log_prob((own - centre) / spread) - spread.log().expand_as(loc).sum(dim=-1)
    return value if own is z and centre is loc and spread is scale else value.to(_result(z, loc, scale))


def _result(*tensors: Tensor) -> torch.dtype:
    """The type that arithmetic on these tensors gives."""
    return functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))


@dataclass(frozen=True)
class DiagonalNormal:
    """Normal proposals with independent coordinates, one per data point.

    Attributes:
        loc: means, shape ``[B, D]``.
        scale: standard deviations, positive, shape ``[B, D]`` or broadcastable to it.
    """

    loc: Tensor
    scale: Tensor

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the standard normal noise that one sample consumes: ``(D,)``."""
        return (self.loc.shape[-1],)

    def layer_means(self, noise: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002
        """E_q[z] of the only layer, whatever the noise: ``[B, 1, 1, D]``."""
        return (self._per_sample(self.loc),)

    def sample(self, noise: Tensor) -> Tensor:
        """Reparameterised samples: noise ``[B, M, K, D]`` to z ``[B, M, K, D]``."""
        return self._per_sample(self.loc) + self._per_sample(self.scale) * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x): z ``[B, M, K, D]`` to ``[B, M, K]``."""
        return normal_log_prob(z, self._per_sample(self.loc), self._per_sample(self.scale))

    def detached(self) -> Self:
        """The same density with its parameters held constant."""
        return type(self)(self.loc.detach(), self.scale.detach())

    def _per_sample(self, parameter: Tensor) -> Tensor:
        return parameter.expand_as(self.loc)[:, None, None]
