"""Single coordinates of the gradient by name, ``tensor[index]``, and by what is notable about them."""

from collections.abc import Sequence

import numpy as np

from snrkit.diagnostics.moments import Moments
from snrkit.diagnostics.problem import Layout
from snrkit.errors import SpecError


def choose(wishes: Sequence[str], layout: Layout, moments: Moments) -> dict[str, int]:
    """Coordinates to their index among P.

    Args:
        wishes: ``largest`` (|mean|) or ``median`` (SNR), each of both networks, or ``tensor[index]``, index flattened.
        layout: order of the parameters.
        moments: of the gradient.

    Raises:
        SpecError: no such tensor or index.
    """
    found: dict[str, int] = {}
    for wish in wishes:
        if wish in ("largest", "median"):
            for block in (layout.blocks[name] for name in ("inference", "generative") if name in layout.blocks):
                index = block.start + _notable(wish, block, moments)
                found[_name(index, layout)] = index
        else:
            found[wish] = _index(wish, layout)
    return found


def _notable(wish: str, block: slice, moments: Moments) -> int:
    _, mean, variance = moments.merged()
    size, variance = np.abs(mean[block]), variance[block]
    if wish == "largest":
        return int(np.argmax(size))
    snr = np.full_like(size, np.inf)
    np.divide(size, np.sqrt(variance), out=snr, where=variance > 0)
    return int(np.argmin(np.abs(snr - np.median(snr[variance > 0])))) if (variance > 0).any() else 0


def _name(coordinate: int, layout: Layout) -> str:
    name = next(n for n in layout.names if layout.blocks[n].start <= coordinate < layout.blocks[n].stop)
    return f"{name}[{coordinate - layout.blocks[name].start}]"


def _index(name: str, layout: Layout) -> int:
    tensor, _, rest = name.partition("[")
    number = rest.removesuffix("]")
    if tensor not in layout.names or not number.isdigit():
        remedy = f"write largest, median or TENSOR[INDEX], TENSOR one of {', '.join(layout.names)}"
        raise SpecError("keep", f"no coordinate '{name}'", remedy)
    block = layout.blocks[tensor]
    if int(number) >= block.stop - block.start:
        raise SpecError("keep", f"'{tensor}' has {block.stop - block.start} coordinates, no '{name}'", "count from 0")
    index: int = block.start + int(number)
    return index
