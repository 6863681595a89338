"""Where the arrays behind moments lie: chosen here and nowhere else."""

from collections.abc import Sequence

import torch
from torch import Tensor

from snrkit.diagnostics.arrays.base import BlockArrays
from snrkit.diagnostics.arrays.device import WORK, DeviceArrays
from snrkit.diagnostics.arrays.host import HostArrays
from snrkit.diagnostics.arrays.kept import Kept
from snrkit.types import Array

# Of one coordinate a device must hold in float64, for each block, a mean and a variance while they are drawn, an offset and
# a sum of squares after; and so many more numbers: what is merged of all blocks, and intermediate results.
_BESIDE = 16


def place_of(device: torch.device, coordinates: int, blocks: int) -> torch.device | None:
    """Where the moments of a job are to lie: on a CUDA device where half of what is free there holds them, else on the host.

    Readings are the same to the rounding of float64 either way, so no table says which.

    Args:
        device: where the draws are made.
        coordinates: P, of the gradient.
        blocks: of draws.
    """
    return device if device.type == "cuda" and fits(coordinates, blocks, _free(device)) else None


def fits(coordinates: int, blocks: int, free: int) -> bool:
    """Whether half of so many free bytes hold the moments and what is computed of them."""
    return 2 * (8 * coordinates * (4 * blocks + _BESIDE) + WORK) <= free


def _free(device: torch.device) -> int:
    """Bytes that can be had on a CUDA device, those included that torch holds and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def stacked(
    counts: Array, means: Sequence[Array | Tensor], variances: Sequence[Array | Tensor], place: torch.device | None
) -> BlockArrays:
    """The arrays of blocks with these means and variances of a draw, ``[P]`` each, on the host or a device."""
    if place is None:
        return HostArrays.of(counts, [_array(part) for part in means], [_array(part) for part in variances])
    means, variances = ([_tensor(part).to(place) for part in parts] for parts in (means, variances))
    return DeviceArrays.of(counts, means, variances)


def _array(part: Array | Tensor) -> Array:
    return part.cpu().numpy() if isinstance(part, Tensor) else part


def _tensor(part: Array | Tensor) -> Tensor:
    return part if isinstance(part, Tensor) else torch.from_numpy(part)


def moved(arrays: BlockArrays, place: torch.device | None) -> BlockArrays:
    """The arrays at another place; themselves if they lie there."""
    if isinstance(arrays, HostArrays) and place is not None:
        return arrays.on(place)
    if isinstance(arrays, DeviceArrays) and place is None:
        return HostArrays(*arrays.host(), Kept(arrays.size))
    return arrays
