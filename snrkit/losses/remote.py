"""The side of workers: losses that have come to them, and what they are asked to make of them.

Every function here is called by ``fleet.orders.serve`` and gives bytes; the other side is ``crew``.
"""

from typing import Any

import numpy as np

from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.projecting import Onto
from snrkit.diagnostics.remote import sealed_projections
from snrkit.diagnostics.store import sealed, written
from snrkit.fleet.models import unpickled
from snrkit.losses.asked import Asked
from snrkit.losses.drawing import fixed_block, held_for, redrawn_block
from snrkit.losses.makers import maker
from snrkit.losses.opening import opened
from snrkit.losses.projecting import projected_block, rows_for
from snrkit.losses.trial import Found


def block(what: Asked, name: str, job: Job, found: Found, start: int, stop: int) -> bytes:
    """The moments of a block of draws of one batch."""
    with opened(what) as ready:
        ready.restart.serve(found.moves, found.frozen)
        make = maker(ready, name, found, what.batch)
        held = held_for(name, what.trained, job, make.write)
        return written(fixed_block(held, range(start, stop), what.batch, lambda _: None))


def projections(what: Asked, onto: Onto, name: str, job: Job, found: Found, start: int, stop: int) -> bytes:
    """The draws of a block of draws of one batch, projected."""
    with opened(what) as ready:
        ready.restart.serve(found.moves, found.frozen)
        make, draws = maker(ready, name, found, what.batch), range(start, stop)
        held = rows_for(what.trained, job)
        return sealed_projections(projected_block(held, draws, make.write, what.batch, onto, lambda _: None))


def block_of_batches(what: Asked, name: str, job: Job, found: Found, start: int, stop: int, given: bytes) -> bytes:
    """The moments of the draws of a block of batches, which come with the order; that of ``what`` is the first of all."""
    batches = unpickled(given)
    with opened(what) as ready:
        ready.restart.serve(found.moves, found.frozen)
        make = maker(ready, name, found, what.batch)
        held = held_for(name, what.trained, job, make.write, what.repeats)
        made = redrawn_block(
            what.trained, held, range(start, stop), what.repeats, lambda number: batches[number - start], lambda _: None
        )
    parts: dict[str, Any] = {"single": np.frombuffer(written(made.single), np.uint8)}
    if made.means is not None and made.within is not None:
        parts |= {"means": np.frombuffer(written(made.means), np.uint8), "traces": made.within.traces}
    return sealed(parts)
