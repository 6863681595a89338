"""Single coordinates of the gradient by name, ``tensor[index]``, and by what is notable about them."""

import re
from collections.abc import Sequence

from snrkit.diagnostics.moments import Moments
from snrkit.diagnostics.problem import Layout
from snrkit.errors import SpecError

NOTABLE = ("largest", "median")


def check(wishes: Sequence[str], layout: Layout) -> None:
    """Whether ``choose`` will find these, before anything is drawn.

    Raises:
        SpecError: no such tensor or index.
    """
    for wish in wishes:
        if wish not in NOTABLE:
            _index(wish, layout)


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
        if wish in NOTABLE:
            for block in (layout.blocks[name] for name in ("inference", "generative") if name in layout.blocks):
                index = block.start + moments.notable(block)[NOTABLE.index(wish)]
                found[_name(index, layout)] = index
        else:
            found[wish] = _index(wish, layout)
    return found


def _name(coordinate: int, layout: Layout) -> str:
    name = next(n for n in layout.names if layout.blocks[n].start <= coordinate < layout.blocks[n].stop)
    return f"{name}[{coordinate - layout.blocks[name].start}]"


def _index(name: str, layout: Layout) -> int:
    parts = re.fullmatch(r"(.+)\[([0-9]+)\]", name)
    if parts is None or parts[1] not in layout.names:
        remedy = f"write largest, median or TENSOR[INDEX], TENSOR one of {', '.join(layout.names)}"
        raise SpecError("keep", f"no coordinate '{name}'", remedy)
    block, number = layout.blocks[parts[1]], int(parts[2])
    if number >= block.stop - block.start:
        raise SpecError("keep", f"'{parts[1]}' has {block.stop - block.start} coordinates, no '{name}'", "count from 0")
    index: int = block.start + number
    return index
