"""What a metric is read from, and what a reading is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from snrkit.diagnostics.intervals import Interval
from snrkit.runs.metrics import Metric, describe
from snrkit.types import Array

if TYPE_CHECKING:  # these load torch
    from torch import Tensor

    from snrkit.diagnostics.moments import Moments
    from snrkit.diagnostics.plan import Job
    from snrkit.diagnostics.problem import Layout

Need = Literal["moments", "target", "log-weights", "second pass"]


@dataclass(frozen=True)
class Reading:
    """One number with its uncertainty.

    Attributes:
        metric: registered name.
        block: name of the block.
        interval: value, standard error and 95 % interval.
        floor: what pure noise would read; NaN where that has no meaning.
        n_coordinates: coordinates that entered.
        n_dropped: coordinates of the block left out because they are zero, or constant, but for rounding.
        replicates: delete-one-block values, ``[G]``, of what slopes and comparisons are made of; else empty.
        scope: ``minibatch``, or ``points`` and ``dataset`` for the parts of a random minibatch's variance.
        remark: what the reader of this very number must know, appended to the definition.
        pulled: whether it rests on too few draws, so that noise pulls it towards its floor.
        target: what a bias is the distance to, appended to the definition before the remark.
    """

    metric: str
    block: str
    interval: Interval
    floor: float = float("nan")
    n_coordinates: int = 0
    n_dropped: int = 0
    replicates: Array = field(default_factory=lambda: np.empty(0))
    scope: str = "minibatch"
    remark: str = ""
    pulled: bool = False
    target: str = ""

    @property
    def definition(self) -> str:
        """The metric's definition, the target and the remark."""
        target = f"target: {self.target}" if self.target else ""
        return "; ".join(part for part in (describe(self.metric).definition, target, self.remark) if part)

    def of_average(self, count: int) -> "Reading":
        """The same reading for an average of ``count`` independent units."""
        if count == 1:
            return self
        factor = float(count) ** describe(self.metric).power
        scaled = Interval(*(factor * part for part in astuple(self.interval)))
        return replace(self, interval=scaled, floor=factor * self.floor, replicates=factor * self.replicates)


@dataclass(frozen=True)
class Target:
    """What the mean gradient should be.

    Attributes:
        moments: as many blocks of draws as those it is held against.
        name: what it is, and from which draws.
    """

    moments: "Moments"
    name: str


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


@dataclass(frozen=True)
class Evidence:
    """What there is to read of one set of draws.

    Attributes:
        job: the draws.
        layout: order of the parameters, P coordinates in all.
        blocks: name of each block asked for to its coordinates.
        moments: of one unit gradient.
        lender: moments of another estimator with the same mean, whose means are used instead; None: there is none.
        targets: block to its target; empty unless a metric needs one.
        statistics: the family's own of each of some draws, ``[draws, metrics]``; empty unless it needs log-weights.
        replayed: projections of every draw; None unless a metric needs a second pass.
    """

    job: "Job"
    layout: "Layout"
    blocks: Mapping[str, slice]
    moments: "Moments"
    lender: "Moments | None" = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    statistics: Array = field(default_factory=lambda: np.empty((0, 0)))
    replayed: Replayed | None = None


@dataclass(frozen=True, eq=False)
class Family:
    """Metrics that are computed together.

    Attributes:
        metrics: name to what it is.
        read: the readings, in the order of the tables. They are of one unit, and the powers of the metrics carry them to
            any M; where a second pass is needed they are of the average that it made.
        needs: what the evidence must hold beside moments. Where that takes further draws, as a second pass does, the
            family is read only if asked for.
        statistics: of the log-weights of K samples, ``[..., K]`` to a value for each metric, ``[..., metrics]``, float64;
            for a family that needs log-weights.
    """

    metrics: Mapping[str, Metric]
    read: Callable[[Evidence], Iterable[Reading]]
    needs: Need = "moments"
    statistics: "Callable[[Tensor], Tensor] | None" = None
