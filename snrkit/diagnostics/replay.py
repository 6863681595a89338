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
from snrkit.interrupt import Interrupted


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
    means = [moments.means(network) for network in networks]
    index = torch.tensor(list(chosen), dtype=torch.int64, device=means[0].device)
    rows: dict[int, list[tuple[int, Tensor, Tensor, Tensor]]] = {m: [] for m in M}
    for number, draws in enumerate(job.blocks()):
        if drawer.stopped():
            raise Interrupted
        averagers = {m: _Averager(m) for m in M}
        for gradients in drawer.worker.gradients(job, draws):
            vectors = torch.cat([gradient.reshape(len(gradient), -1) for gradient in gradients], dim=1)
            vectors = vectors.to(means[0].device, torch.float64)
            for m, averager in averagers.items():
                averaged = averager.add(vectors)
                if len(averaged):
                    rows[m].append((number, *_project(averaged, networks, means), averaged.index_select(1, index)))
        drawer.advance(job, len(draws))
    return {m: _joined(found) for m, found in rows.items()}


def _project(vectors: Tensor, networks: Sequence[slice], means: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    parts = [vectors[:, network] for network in networks]
    norms = torch.stack([part.square().sum(dim=1) for part in parts], dim=1)
    products = torch.stack([part @ mean.T for part, mean in zip(parts, means, strict=True)], dim=1)
    return norms, products


class _Averager:
    """Averages of M consecutive draws; those that do not fill a group wait for the next portion."""

    def __init__(self, M: int) -> None:
        self._M = M
        self._rest: Tensor | None = None

    def add(self, vectors: Tensor) -> Tensor:
        """Draws ``[r, P]`` to the averages that they complete, ``[r', P]``."""
        vectors = vectors if self._rest is None else torch.cat([self._rest, vectors])
        whole = len(vectors) // self._M * self._M
        self._rest = vectors[whole:]
        return vectors[:whole].reshape(-1, self._M, vectors.shape[1]).mean(dim=1)


def _joined(found: list[tuple[int, Tensor, Tensor, Tensor]]) -> Replayed:
    """What leaves the device only now."""
    block = np.concatenate([np.full(len(norms), number) for number, norms, _, _ in found])
    columns = list(zip(*(row[1:] for row in found), strict=True))
    norms, products, kept = (torch.cat(column).cpu().numpy() for column in columns)
    return Replayed(block, norms, products, kept)
