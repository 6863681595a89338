"""A second pass over the same draws, for what moments cannot tell: DSNR, and the draws of chosen coordinates.

Draws are pure functions of their noise, so they are made again rather than stored.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.metrics.base import Replayed
from snrkit.diagnostics.moments import Moments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.projecting import Onto


def replay(
    drawer: Drawer, job: Job, moments: Moments, networks: Sequence[slice], M: Sequence[int], chosen: Sequence[int]
) -> dict[int, Replayed]:
    """Draw a job again and project every draw.

    Args:
        drawer: what drew it.
        job: the job.
        moments: its moments, all blocks.
        networks: coordinates of each network.
        M: numbers of units averaged into one draw; units left over in a block are dropped.
        chosen: coordinates to keep.

    Returns:
        Per M.

    Raises:
        Interrupted: asked to stop.
    """
    onto = Onto(networks, [moments.means(network) for network in networks], M, chosen)
    rows: dict[int, list[tuple[int, Tensor, Tensor, Tensor]]] = {m: [] for m in M}
    for number, found in enumerate(drawer.projected(job, onto)):
        for m, columns in found.items():
            rows[m].append((number, *columns))
    return {m: _joined(found) for m, found in rows.items()}


def _joined(found: list[tuple[int, Tensor, Tensor, Tensor]]) -> Replayed:
    """What leaves the device only now."""
    block = np.concatenate([np.full(len(norms), number) for number, norms, _, _ in found])
    columns = list(zip(*(row[1:] for row in found), strict=True))
    norms, products, kept = (torch.cat(column).cpu().numpy() for column in columns)
    return Replayed(block, norms, products, kept)
