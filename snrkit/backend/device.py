"""Which device to compute on."""

import torch

from snrkit.errors import SpecError


def select_device(name: str) -> torch.device:
    """``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        SpecError: not such a name, or a device that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SpecError("device", f"unknown device '{name}'", "choose auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SpecError("device", f"'{name}' asked for, and {count} CUDA devices are there", "use `device=cpu` or auto")
    return device


def kind_of(device: torch.device) -> str:
    """What last bits depend on of a device: ``cpu``, or the name of a GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
