"""The draws of a block, projected on what is asked for: by whoever makes them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.worker import Worker

# Of the draws of a block, per number of averaged units: squared norms ``[r, networks]``, inner products with block means
# ``[r, networks, G]``, chosen coordinates ``[r, chosen]``.
Projected = dict[int, tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Onto:
    """What draws are projected on.

    Attributes:
        networks: coordinates of each network.
        means: block means of each, ``[G, p]``, where they are to be projected.
        M: numbers of units averaged into one draw; units left over in a block are dropped.
        chosen: coordinates to keep.
    """

    networks: Sequence[slice]
    means: Sequence[Tensor]
    M: Sequence[int]
    chosen: Sequence[int]


def projected(worker: Worker, job: Job, draws: range, onto: Onto) -> Projected:
    """The draws of a block, projected."""
    parts = (
        torch.cat([gradient.reshape(len(gradient), -1) for gradient in gradients], dim=1)
        for gradients in worker.gradients(job, draws)
    )
    return projected_rows(parts, onto)


def projected_rows(parts: Iterable[Tensor], onto: Onto) -> Projected:
    """The draws of a block, projected: ``parts`` are consecutive ones, ``[r, P]``, each a tensor of its own."""
    place = onto.means[0].device
    index = torch.tensor(list(onto.chosen), dtype=torch.int64, device=place)
    averagers = {m: _Averager(m) for m in onto.M}
    found: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {m: [] for m in onto.M}
    for part in parts:
        vectors = part.to(place, torch.float64)
        for m, averager in averagers.items():
            averaged = averager.add(vectors)
            if len(averaged):
                found[m].append((*_project(averaged, onto.networks, onto.means), averaged.index_select(1, index)))
    return {m: _together(parts) for m, parts in found.items()}


def _together(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    norms, products, kept = (torch.cat(column) for column in zip(*parts, strict=True))
    return norms, products, kept


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
