"""Data as users give them, brought into the form that models are called with."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from snrkit.core.batches import Batch, describe, leaves
from snrkit.errors import SpecError

_GIVE = "give a tensor [B, *event], or a tuple or dict of tensors whose first axis is the data point"


def as_batch(x: Any, device: torch.device, dtype: torch.dtype) -> Batch:
    """Data on a device: floating-point numbers in the given type, integers and booleans as they are.

    Args:
        x: a tensor, an array, numbers, or a tuple, list or dict of tensors and arrays.
        device: of the model.
        dtype: of the model's parameters.

    Raises:
        SpecError: no such thing; no data point; values that are complex, NaN or infinite; first axes of different lengths.
    """
    batch = _converted(x, "x", device, dtype)
    found = list(leaves(batch))
    sizes = {tensor.shape[0] for tensor in found}
    if len(sizes) > 1:
        problem = f"{describe(batch)}: the first axes differ"
        raise SpecError("x", problem, "give all tensors one row per data point; constants belong into the model")
    if not found or sizes == {0}:
        raise SpecError("x", "must hold at least one data point, all of it finite", _GIVE)
    return batch


def _converted(x: Any, place: str, device: torch.device, dtype: torch.dtype) -> Batch:
    if isinstance(x, Tensor | np.ndarray | np.generic) or _numbers(x):
        return _tensor(x, place, device, dtype)
    if isinstance(x, PackedSequence):
        problem = "is a PackedSequence, whose first axis is not the data point"
        raise SpecError(place, problem, "give the padded tensor and the lengths, and pack in encode")
    if isinstance(x, Mapping) and x:
        return {key: _converted(part, f"{place}[{key!r}]", device, dtype) for key, part in x.items()}
    if isinstance(x, list | tuple) and x:
        converted = [_converted(part, f"{place}[{i}]", device, dtype) for i, part in enumerate(x)]
        return type(x)(*converted) if hasattr(x, "_fields") else type(x)(converted)
    raise SpecError(place, f"is {_named(x)}", _remedy(x))


def _numbers(x: Any) -> bool:
    """Whether x is a number, or nested lists of numbers."""
    if isinstance(x, list | tuple):
        return bool(x) and all(_numbers(part) for part in x)
    return isinstance(x, bool | int | float | complex)


def _named(x: Any) -> str:
    if isinstance(x, list | tuple | dict):
        return f"an empty {type(x).__name__}"
    return "None" if x is None else f"a {type(x).__name__}"


def _remedy(x: Any) -> str:
    """What to do with what data usually come in."""
    if hasattr(x, "to_numpy"):
        return "give its values: x.to_numpy()"
    if hasattr(x, "batch_size") or hasattr(x, "__next__"):
        return f"give one batch of it, e.g. next(iter(x)); {_GIVE}"
    if hasattr(x, "__getitem__") and hasattr(x, "__len__") and not isinstance(x, str | bytes):
        return f"collate its points first; {_GIVE}"
    return _GIVE


def _tensor(x: Any, place: str, device: torch.device, dtype: torch.dtype) -> Tensor:
    tensor = _plain(x, place)
    if tensor.is_complex():
        raise SpecError(place, "is complex", "give real and imaginary part as two axes: torch.view_as_real(x)")
    if tensor.ndim == 0:
        raise SpecError(place, "has no axis of data points", _GIVE)
    if tensor.is_floating_point():
        tensor = tensor.to(device, dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise SpecError(
                place, "must hold at least one data point, all of it finite", "give data [B, ...] without NaN"
            )
        return tensor
    return tensor.to(device)


def _plain(x: Any, place: str) -> Tensor:
    if isinstance(x, np.ma.MaskedArray):
        raise SpecError(
            place, "is a masked array", "give x.filled(value), and the mask beside it if the model wants it"
        )
    try:
        tensor = torch.as_tensor(_native(x)).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpecError(place, f"cannot be read as numbers ({reason})", _GIVE) from None
    if tensor.is_nested:
        raise SpecError(place, "is a nested tensor", "pad it and give the lengths beside it")
    if tensor.is_meta:
        raise SpecError(place, "lies on the meta device, without values", "give data with values")
    if tensor.is_quantized:
        raise SpecError(place, "is quantised", "give x.dequantize()")
    if tensor.is_inference():  # nothing that comes of it could be differentiated
        tensor = tensor.clone()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def _native(x: Any) -> Any:
    """Arrays in a form that torch takes: of this machine's byte order, forward and writable."""
    if not isinstance(x, np.ndarray):
        return x
    if x.dtype.byteorder not in "=|<" or not x.flags.writeable or min(x.strides, default=0) < 0:
        return x.astype(x.dtype.newbyteorder("="), copy=True, order="C")
    return x
