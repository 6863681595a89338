"""Which coordinates of a gradient are zero, or constant, but for rounding: what two precisions say of them.

A gradient that vanishes in exact arithmetic, such as that of one number added to all logits of a softmax, does not vanish
on a computer: what is left is rounding, and its SNR says nothing. Its size alone does not tell it from a small gradient. But
rounding shrinks with the type of number, and a gradient does not: a few draws are repeated in another precision, from the
same noise (``snrkit.diagnostics.precision``).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from snrkit.diagnostics.plan import Job
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.verdict import Verdict
from snrkit.types import Array, Mask

# Rounding is at most so many eps of the largest coordinate (a zero) and of the coordinate itself (a constant).
_OF_LARGEST, _OF_OWN = 64, 8
# What the examined draws show holds for all draws if these vary no more than so many times as much.
_SLACK = 64
# Without another precision: a standard deviation of so many eps of the mean is none.
_OF_MEAN = 4
# Tensors named in a remark.
_NAMED = 3


@dataclass(frozen=True)
class Sizes:
    """Sizes of each coordinate of the gradient of a data point, ``[P]``, in one precision.

    Attributes:
        eps: relative rounding.
        rms: root of the mean square over points and draws.
        sd: root of the mean variance of a point's draws.
    """

    eps: float
    rms: Array
    sd: Array


@dataclass(frozen=True)
class Compared:
    """What two precisions say of the coordinates.

    Attributes:
        own: sizes in the precision of the measurement, at a few data points.
        other: sizes in another.
        every: the same two of the mean over all data points.
        dtype: name of the measurement's precision.
        smallest: its smallest normal number.
    """

    own: Sizes
    other: Sizes
    every: tuple[Sizes, Sizes]
    dtype: str
    smallest: float

    @property
    def zero(self) -> Mask:
        """Coordinates whose size shrinks with the precision, and is small beside the largest."""
        (low, high), (_, all_high) = _ordered(self.own, self.other), _ordered(*self.every)
        small = low.rms < _OF_LARGEST * low.eps * low.rms.max()
        elsewhere = all_high.rms <= np.maximum(self._shrunk("rms"), _OF_LARGEST * high.eps * all_high.rms.max())
        found: Mask = small & (high.rms < low.rms * _ratio(low, high)) & elsewhere
        return found

    @property
    def constant(self) -> Mask:
        """Other coordinates whose standard deviation does so, and is small beside their size; or is nothing at all."""
        (low, high), (_, all_high) = _ordered(self.own, self.other), _ordered(*self.every)
        small = (low.sd < _OF_OWN * low.eps * low.rms) & (self.own.rms > 0)
        nothing = _OF_OWN * high.eps * high.rms
        found: Mask = small & (high.sd <= np.maximum(low.sd * _ratio(low, high), nothing))
        return found & (all_high.sd <= np.maximum(self._shrunk("sd"), nothing)) & ~self.zero

    def judge(self, mean: Array, variance: Array) -> Verdict:
        """What is so of all draws too, which have these moments: rare ones may have been missed."""
        zero, constant, (own, _) = self.zero, self.constant, self.every
        seen = np.maximum(own.sd, np.where(zero, own.rms, own.eps * self.own.rms))
        rounding = (zero | constant) & (variance <= np.square(_SLACK * seen))
        lost = self._too_small & (mean == 0) & (variance == 0)
        few = self._too_small & ~lost
        return Verdict(zero & rounding, constant & rounding & (variance > 0), lost, few, self.dtype)

    def _shrunk(self, size: str) -> Array:
        """A size over all data points, by as much smaller as the finer precision would have it if it were rounding."""
        low, high = _ordered(*self.every)
        found: Array = getattr(low, size) * _ratio(low, high)
        return found

    @property
    def _too_small(self) -> Mask:
        """Coordinates that are none of rounding and below the normal numbers of the measurement's precision."""
        other = self.other
        genuine = other.rms > _OF_LARGEST * other.eps * other.rms.max()
        found: Mask = genuine & (other.rms < self.smallest) & (self.own.eps > other.eps)
        return found


def _ordered(one: Sizes, other: Sizes) -> tuple[Sizes, Sizes]:
    """The coarser precision first."""
    return (one, other) if one.eps > other.eps else (other, one)


def _ratio(low: Sizes, high: Sizes) -> float:
    return math.sqrt(high.eps / low.eps)


@dataclass(frozen=True)
class Unchecked:
    """The rule where the draws cannot be repeated in another precision.

    Attributes:
        eps: relative rounding of the draws.
        dtype: name of their precision.
        why: what went wrong.
    """

    eps: float
    dtype: str
    why: str

    def judge(self, mean: Array, variance: Array) -> Verdict:
        """A deviation of a few roundings of the mean is none."""
        none = np.zeros_like(mean, dtype=np.bool_)
        rounding: Mask = (variance > 0) & (variance <= np.square(_OF_MEAN * self.eps * mean))
        return Verdict(none, rounding, none, none, self.dtype, self.why)


def remarks(found: Mapping[Job, Verdict], layout: Layout) -> list[str]:
    """What a reader of the measurement must know, in sentences; the same of several jobs once."""
    said: dict[str, dict[str, list[int]]] = {}
    for job, verdict in found.items():
        for sentence in _sentences(verdict, layout):
            said.setdefault(sentence, {}).setdefault(job.estimator.name, []).append(job.K)
    return [
        f"{', '.join(f'{name} at K={_listed(counts)}' for name, counts in jobs.items())}: {sentence}"
        for sentence, jobs in said.items()
    ]


def _listed(counts: Sequence[int]) -> str:
    return ",".join(map(str, dict.fromkeys(counts)))


def _sentences(verdict: Verdict, layout: Layout) -> Iterator[str]:
    for mask, what in (
        (verdict.zero, "zero but for rounding, and left out of the SNR"),
        (verdict.constant, "constant but for rounding, and left out of the SNR"),
        (verdict.lost, f"too small for {verdict.dtype} and read as zero; measure in a wider type"),
        (verdict.few, f"below the normal numbers of {verdict.dtype}, where digits are lost; measure in a wider type"),
    ):
        if mask.any():
            yield f"{_counted(int(mask.sum()))} {what} ({_tensors_with(mask, layout)})"
    if verdict.unchecked:
        yield f"coordinates that are zero but for rounding cannot be told from small ones ({verdict.unchecked})"


def _counted(count: int) -> str:
    return "1 coordinate is" if count == 1 else f"{count} coordinates are"


def _tensors_with(mask: Mask, layout: Layout) -> str:
    names = [name for name in layout.names if mask[layout.blocks[name]].any()]
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
