"""How products of float32 are taken in training: in float32, or by tensor cores that round their factors to TF32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from snrkit.backend.kernels import full_precision, switched
from snrkit.errors import SpecError

# Compute capability of the first cards that have it.
_FIRST = (8, 0)


def require_precision(precision: str, device: torch.device) -> None:
    """See to it that a device has what a run's ``precision`` names: it would be noted in the run, and not be so.

    Raises:
        SpecError: it has not.
    """
    if precision != "tf32":
        return
    remedy = "give `device=cuda` on an NVIDIA card of 2020 or later, or leave out `precision`"
    if device.type != "cuda":
        raise SpecError("precision", f"tf32 is of CUDA devices, and this run computes on {device}", remedy)
    if torch.cuda.get_device_capability(device) < _FIRST:
        raise SpecError("precision", f"{torch.cuda.get_device_name(device)} has no TF32", remedy)


def products(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """A block in which a CUDA device multiplies and convolves float32 as ``precision`` says, whatever the process allows.

    ``tf32`` keeps 10 of the 23 bits of either factor's mantissa and adds up in float32. On other devices nothing changes.
    """
    if device.type != "cuda":
        return nullcontext()
    return switched(*_switches()) if precision == "tf32" else full_precision()


def _switches() -> tuple[list[tuple[Any, str]], str | bool]:
    """The attributes that allow TF32, and their value that does (see ``kernels``: the older ones may refuse to be read)."""
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):
        parts = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
        return [(part, "fp32_precision") for part in parts], "tf32"
    return [(part, "allow_tf32") for part in (backends.cuda.matmul, backends.cudnn)], True
