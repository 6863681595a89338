"""A few draws of a loss in two precisions, which tells rounding from gradients (see ``snrkit.diagnostics.rounding``)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snrkit.backend.memory import in_words
from snrkit.diagnostics.moments import Rounding
from snrkit.diagnostics.rounding import Compared, Sizes, Unchecked
from snrkit.losses.batches import mapped
from snrkit.types import Array

# Draws in each precision.
_DRAWS = 4
# Bytes of what is copied into the other precision; more is not checked.
_MOST = 2**31

# (draw, row, batch, noise): writes the gradient of a draw to a row.
Write = Callable[[int, Tensor, Any], None]


def examine(
    write: Write, batch: Any, held: Sequence[Tensor], size: int, own: torch.dtype, narrowest: torch.dtype
) -> Rounding:
    """Compare a few draws in two precisions: float64 beside their own, or float32 beside float64.

    Args:
        write: makes a draw.
        batch: that it is made of; floating-point tensors in it take the other type too.
        held: parameters, buffers and other tensors that do; each is as before afterwards.
        size: P, coordinates of a gradient.
        own: type of the parameters.
        narrowest: type with the largest rounding that the loss computes in.
    """
    eps, name = torch.finfo(narrowest).eps, named(own, narrowest)
    other = torch.float32 if narrowest == torch.float64 else torch.float64
    taken = sum(tensor.numel() for tensor in held) * torch.finfo(other).bits // 8
    if taken > _MOST:
        return Unchecked(eps, name, f"a copy in another precision takes {in_words(taken)}")
    try:
        sizes = _sizes(write, batch, size, own, eps, held[0].device)
        with _in(other, own, held):
            others = _sizes(
                write,
                mapped(batch, lambda tensor: tensor.to(other) if tensor.dtype == own else tensor),
                size,
                other,
                torch.finfo(other).eps,
                held[0].device,
            )
    except Exception as error:  # a loss may raise anything in a type that it was not written for
        return Unchecked(eps, name, str(error).partition("\n")[0] or type(error).__name__)
    return Compared(sizes, others, (sizes, others), name, float(torch.finfo(narrowest).tiny))


def named(own: torch.dtype, narrowest: torch.dtype) -> str:
    """The name of a precision: that of the parameters, and a narrower one that autocast or the loss's own code takes."""
    name, other = (str(dtype).removeprefix("torch.") for dtype in (own, narrowest))
    return name if own == narrowest else f"{name} (partly {other})"


def _sizes(write: Write, batch: Any, size: int, dtype: torch.dtype, eps: float, device: torch.device) -> Sizes:
    wide = torch.promote_types(dtype, torch.float32)
    rows = torch.empty(_DRAWS, size, dtype=wide, device=device)
    for draw, row in enumerate(rows):
        write(draw, row, batch)
    numbers: Array = rows.double().cpu().numpy()
    if not np.isfinite(numbers).all():
        raise OverflowError(f"gradients are NaN or infinite in {str(dtype).removeprefix('torch.')}")
    return Sizes(eps, np.sqrt(np.mean(np.square(numbers), axis=0)), numbers.std(axis=0, ddof=1))


@contextmanager
def _in(other: torch.dtype, own: torch.dtype, held: Sequence[Tensor]) -> Iterator[None]:
    """The tensors of one type in another within the block, the very objects; numbers that a loss makes too."""
    default, device = torch.get_default_dtype(), held[0].device.type
    swapped = [(tensor, tensor.data) for tensor in held if tensor.dtype == own and not tensor.is_meta]
    autocast = torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
    try:
        for tensor, content in swapped:
            tensor.grad = None  # it would be of the old type
            tensor.data = content.to(other)
        if default == own:
            torch.set_default_dtype(other)
        with autocast:
            yield
    finally:
        torch.set_default_dtype(default)
        for tensor, content in swapped:
            tensor.grad = None
            tensor.data = content
