"""A second pass over the same draws, for what moments cannot tell: DSNR, and the draws of chosen coordinates.

Draws are pure functions of their noise, so they are made again rather than stored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.intervals import Interval, delete_one, jackknife_stderr, student
from snrkit.diagnostics.moments import Array, Moments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.relations import block_means
from snrkit.interrupt import Interrupted

RELIABLE = 50


@dataclass(frozen=True)
class Replayed:
    """Projections of minibatch draws at one M, and the draws of chosen coordinates.

    Attributes:
        block: which block of draws each draw lies in, ``[R']``.
        norms: squared norms per network, ``[R', networks]``.
        products: inner products with every block mean, ``[R', networks, G]``.
        kept: draws of the chosen coordinates, ``[R', chosen]``.
    """

    block: Array
    norms: Array
    products: Array
    kept: Array


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
    means = [torch.from_numpy(block_means(moments, network)) for network in networks]
    rows: dict[int, list[tuple[int, Array, Array, Array]]] = {m: [] for m in M}
    for number, draws in enumerate(job.blocks()):
        if drawer.stopped():
            raise Interrupted
        averagers = {m: _Averager(m) for m in M}
        for gradients in drawer.minibatch_gradients(job, draws):
            vectors = torch.cat([gradient.reshape(len(gradient), -1) for gradient in gradients], dim=1).double().cpu()
            for m, averager in averagers.items():
                averaged = averager.add(vectors)
                if len(averaged):
                    rows[m].append((number, *_project(averaged, networks, means), averaged[:, list(chosen)].numpy()))
        drawer.advance(job, len(draws))
    return {m: _joined(found) for m, found in rows.items()}


def _project(vectors: Tensor, networks: Sequence[slice], means: Sequence[Tensor]) -> tuple[Array, Array]:
    parts = [vectors[:, network] for network in networks]
    norms = torch.stack([part.square().sum(dim=1) for part in parts], dim=1)
    products = torch.stack([part @ mean.T for part, mean in zip(parts, means, strict=True)], dim=1)
    return norms.numpy(), products.numpy()


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


def _joined(found: list[tuple[int, Array, Array, Array]]) -> Replayed:
    block = np.concatenate([np.full(len(norms), number) for number, norms, _, _ in found])
    norms, products, kept = (np.concatenate([row[i] for row in found]) for i in (1, 2, 3))
    return Replayed(block, norms, products, kept)


def dsnr(replayed: Replayed, moments: Moments, blocks: Sequence[slice], members: Sequence[int]) -> dict[str, Interval]:
    """DSNR of a block that is made of one network or both.

    Args:
        replayed: projections.
        moments: the job's moments.
        blocks: coordinates of each network.
        members: which networks.

    Returns:
        ``dsnr``, each draw projected on the direction of the other blocks' mean, which is refitted in each replicate; and
        ``dsnr_in_sample``. NaN where there is no direction or nothing across it: a mean of zero, a single coordinate, or
        (cross-fitted) a single block left.
    """
    dimensions = sum(blocks[i].stop - blocks[i].start for i in members)
    gram = sum(block_means(moments, blocks[i]) @ block_means(moments, blocks[i]).T for i in members)
    norms, products = (np.asarray(a[:, list(members)].sum(axis=1)) for a in (replayed.norms, replayed.products))
    found = {}
    for name, others in (("dsnr", 1 - np.eye(moments.blocks)), ("dsnr_in_sample", np.ones((moments.blocks,) * 2))):

        def value(kept: Array, others: Array = others) -> float:
            rows = kept[replayed.block] > 0
            weights = others * (kept * moments.counts)
            lengths = np.sqrt(np.einsum("jk,kl,jl->j", weights, gram, weights))
            block = replayed.block[rows]
            if dimensions < 2 or lengths[block].min() == 0:
                return math.nan
            along = (products[rows] * weights[block]).sum(axis=1) / lengths[block]
            across = np.sqrt(np.maximum(norms[rows] - along**2, 0))
            if across.min() == 0:
                return math.nan
            return float(np.mean(np.abs(along) / across))

        replicates = np.array([value(row) for row in delete_one(moments.blocks)])
        full = value(np.ones(moments.blocks))
        found[name] = student(full, float(jackknife_stderr(replicates)), moments.blocks)
    return found


def noise_dsnr(dimensions: int) -> float:
    """DSNR of isotropic normal noise in D dimensions, sqrt(2/pi) Gamma((D-2)/2) / (sqrt 2 Gamma((D-1)/2)); NaN for D < 3."""
    if dimensions < 3:
        return math.nan
    logs = float(gammaln((dimensions - 2) / 2) - gammaln((dimensions - 1) / 2))
    return math.sqrt(2 / math.pi) / math.sqrt(2) * math.exp(logs)
