"""Readings of the draws of a loss: those that every gradient has, its DSNR, and the parts of a random batch's variance."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from snrkit.diagnostics.intervals import delete_one, jackknife_stderr, student
from snrkit.diagnostics.metrics import dsnr, parts
from snrkit.diagnostics.metrics.base import Evidence, Family, Reading, Replayed
from snrkit.diagnostics.moments import Moments
from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.projecting import Onto, Projected
from snrkit.diagnostics.relations import across, block_means
from snrkit.losses.drawing import Within
from snrkit.runs.metrics import METRICS
from snrkit.types import Array

_OF_BATCHES = "of whole batches: the parts of Var[g] of one draw of one batch"


@dataclass(frozen=True)
class Read:
    """What readings are made from.

    Attributes:
        job: the draws.
        layout: order of the parameters.
        blocks: name of each block to its coordinates.
        moments: of one draw.
        means: of the means over the draws of a batch, where batches are drawn anew several times.
    """

    job: Job
    layout: Layout
    blocks: Mapping[str, slice]
    moments: Moments
    means: Moments | None = None

    def readings(self, repeats: int) -> Iterator[Reading]:
        """All that moments tell; ``repeats`` is the number of draws of a batch that is drawn anew."""
        evidence = Evidence(self.job, self.layout, self.blocks, self.moments, self.means)
        families: list[Family] = list(dict.fromkeys(METRICS.load(name) for name in METRICS.names))
        lent = f"E[g] from {repeats} draws of each batch"
        for family in (f for f in families if f.needs == "moments"):
            for found in family.read(evidence):
                of_mean = self.means is not None and family.metrics[found.metric].of_mean
                yield replace(found, remark="; ".join(filter(None, (lent, found.remark)))) if of_mean else found


def noise_parts(read: Read, within: list[Within], repeats: int) -> Iterator[Reading]:
    """Monte Carlo part, the mean variance within a batch; data part, the variance of batch means less their own noise.

    Both signed, with intervals over batches.
    """
    if read.means is None:
        return
    G, names = len(within), list(read.layout.names)
    counts, traces = (
        np.array([part.batches for part in within], dtype=float),
        np.stack([part.traces for part in within]),
    )
    starts = [read.layout.blocks[name].start for name in names]

    def values(chosen: Array, block: slice) -> Array:
        """(data part, Monte Carlo part, critical M) of the chosen blocks of batches."""
        inside = [block.start <= start < block.stop for start in starts]
        noise = float((chosen * counts) @ traces[:, inside].sum(axis=1) / (chosen @ counts))
        assert read.means is not None
        data = float(read.means.merged(chosen)[2][block].sum()) - noise / repeats
        return np.array([data, noise, noise / data if data > 0 else math.nan])

    for name, block in read.blocks.items():
        full = values(np.ones(G), block)
        errors = jackknife_stderr(np.stack([values(row, block) for row in delete_one(G)]))
        for place, metric in enumerate(parts.FAMILY.metrics):
            interval = student(float(full[place]), float(errors[place]), G)
            size = block.stop - block.start
            yield Reading(metric, name, interval, n_coordinates=size, scope="dataset", remark=_OF_BATCHES)


class Spans:
    """What draws are projected on for the DSNR: the block means of the parts that have one of their own, and of the rest.

    Args:
        read: the moments of the same draws.
        groups: names of those parts.
    """

    def __init__(self, read: Read, groups: Iterable[str]) -> None:
        self._read, self._spans = read, {group: read.blocks[group] for group in groups}
        end = max((span.stop for span in self._spans.values()), default=0)
        if end < read.layout.size:
            self._spans["(rest)" if self._spans else "all"] = slice(end, read.layout.size)

    def onto(self, M: Sequence[int]) -> Onto:
        """The means, for draws that average so many."""
        spans = list(self._spans.values())
        return Onto(spans, [torch.from_numpy(block_means(self._read.moments, span)) for span in spans], M, ())

    def readings(self, M: int, blocks: Sequence[Projected]) -> Iterator[Reading]:
        """DSNR of each part, and of all, from the projected draws of each block."""
        rows, moments = [block[M] for block in blocks], self._read.moments
        number = np.concatenate([np.full(len(norms), place) for place, (norms, *_) in enumerate(rows)])
        found = Replayed(number, *(torch.cat(column).numpy() for column in zip(*rows, strict=True)))
        spans = list(self._spans.values())
        members = {name: [place] for place, name in enumerate(self._spans)} | {"all": list(range(len(spans)))}
        for name in (name for name in members if name in self._read.blocks):
            block = self._read.blocks[name]
            own = block_means(moments, block)
            trace = float(moments.merged()[2][block].sum())
            remark = dsnr.pulled(moments.draws * across(own @ own.T) / trace) if trace > 0 else "nothing varies"
            size = block.stop - block.start
            for metric, interval in dsnr.dsnr(found, moments, spans, members[name]).items():
                floor = dsnr.noise_dsnr(size)
                yield Reading(metric, name, interval, floor, size, remark=remark, pulled=bool(remark))
