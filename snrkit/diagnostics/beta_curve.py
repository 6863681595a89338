"""SNR of ciwae's gradient against beta: exact for every beta from the moments of its two parts.

The gradient is beta v + (1 - beta) w, with v that of the ELBO and w that of the K-sample bound on the same samples. Per
coordinate five moments say all: mean(beta) = beta m_v + (1 - beta) m_w and var(beta) = beta^2 s_v + (1 - beta)^2 s_w +
2 beta (1 - beta) c. The variance is thus a quadratic through its values at beta = 0, 1/2 and 1, which is how c comes in:
three sets of draws on the same noise, c = 2 var(1/2) - (s_v + s_w)/2.

The SNR need not be monotone in beta. Where m_v and m_w point against each other, the mean vanishes in between (in one
coordinate at beta = m_w / (m_w - m_v)), and the SNR with it. And the beta of the highest SNR is not the beta of the best
bound: the SNR says how clear a signal is, not which bound it climbs. ``beta_choice`` says so where it matters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import nn

from snrkit.diagnostics import beta_choice as choice
from snrkit.diagnostics.draws import Drawer
from snrkit.diagnostics.gather import WEIGHT_DRAWS
from snrkit.diagnostics.intervals import Interval, delete_one, jackknife_stderr, student
from snrkit.diagnostics.metrics.base import Reading
from snrkit.diagnostics.metrics.bias import bias
from snrkit.diagnostics.metrics.strength import read
from snrkit.diagnostics.moments import BlockMoments, Moments
from snrkit.diagnostics.plan import Job, Plan
from snrkit.diagnostics.prepared import prepared, select_blocks
from snrkit.diagnostics.relations import across, block_means
from snrkit.diagnostics.suiting import suited
from snrkit.errors import SpecError
from snrkit.estimators.ciwae import Ciwae
from snrkit.interrupt import Interrupted
from snrkit.runs.kinds.beta import BETA
from snrkit.runs.metrics import describe
from snrkit.runs.place import Place, target
from snrkit.trial.opening import opened
from snrkit.types import Array, Indices, Progress

GRID = tuple(float(beta) for beta in np.linspace(0, 1, 21).round(2))
COSINE = "cosine between E[g] at this beta and at beta = 0; undefined where a debiased squared norm is <= 0"
SNRS = ("snr_mean", "snr_median", "snr_pooled")
_SHOWN = (*SNRS, "snr_pooled_squared", "mean_norm", "variance")


@dataclass(frozen=True)
class BetaCurve:
    """What was found.

    Attributes:
        table: one row per (beta, metric): value, stderr, ci_low, ci_high, floor, draws, n_coordinates, n_dropped,
            definition, M, K, block.
        best: the beta of the grid with the highest snr_pooled; NaN where none shows a signal.
        told_apart: (lowest, highest) beta of the grid that these draws do not tell from ``best``.
        vanishing: the beta at which the norm of E[g] is smallest, any real number. It lies within (0, 1) where v.w is less
            than |v|^2 and |w|^2; so neither need they oppose each other there, nor the SNR dip.
        remarks: when ``best`` misleads, in sentences.
        settle: removes the blocks of draws that were kept, once what was found is safely written.
        place: of a run, where it goes; its table then has the columns run, step, data and seed too.
    """

    table: pd.DataFrame
    best: float
    told_apart: tuple[float, float]
    vanishing: Interval
    remarks: list[str]
    settle: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    place: Place | None = field(default=None, repr=False, compare=False)

    def save(self, path: Path | None = None) -> Path:
        """Write the curve of a run, whole or not at all. Then ``settle``.

        Args:
            path: a CSV file; None: where it was announced that it goes.

        Raises:
            SpecError: neither a path nor a run says where.
            OutputError: it cannot be written.
        """
        with target(self.place, path) as file:
            BETA.write(file, self.table)
            self.settle()
        return file


@dataclass(frozen=True)
class Parts:
    """Moments of ciwae's gradient at beta = 0, 1/2 and 1, from the same noise, for p coordinates."""

    none: Moments
    half: Moments
    whole: Moments

    def at(self, beta: float) -> Moments:
        """The moments at any beta, exactly."""
        weights = (1 - beta) * (1 - 2 * beta), 4 * beta * (1 - beta), beta * (2 * beta - 1)
        every, blocks = slice(None), []
        for g in range(self.none.blocks):
            low, mid, high = (moments.block(g, every) for moments in (self.none, self.half, self.whole))
            mean = (1 - beta) * low.mean + beta * high.mean
            variance = sum(w * part.variance for w, part in zip(weights, (low, mid, high), strict=True))
            # Rounding may leave less than nothing where the parts cancel.
            blocks.append(BlockMoments(low.draws, mean, np.maximum(variance, 0.0), low.points))
        return Moments(blocks)


def beta_curve(  # noqa: PLR0913 (one option each; most by keyword)
    model: nn.Module,
    x: Any,
    K: int,
    betas: Sequence[float] = GRID,
    *,
    M: int = 1,
    draws: int = 1000,
    seed: int = 0,
    block: str = "inference",
    folder: Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> BetaCurve:
    """SNR of ciwae's minibatch gradient at each beta, with error bars from blocks of draws.

    Args:
        model: as for ``snrkit.measure``.
        x: as for ``snrkit.measure``.
        K: importance samples, at least 2 (with one, both parts are the same).
        betas: at least one, each in [0, 1].
        M: outer samples, by algebra.
        draws: gradient draws R.
        seed: root of the noise.
        block: ``inference``, ``generative``, ``all`` or the name of a parameter tensor.
        folder: keep finished blocks of draws here; the same call then goes on from where an interrupted one stopped.
        progress: called with (done, total, note).
        stop: asked after every block of draws; True ends them.

    Raises:
        SpecError: an argument is out of range, or the model does not accept the data.
        ModelError, CapabilityError: as for ``snrkit.measure``.
        NonFiniteError: a bound or a gradient is NaN or infinite.
        Interrupted: stopped before all draws were made.
    """
    betas = _checked(betas)
    estimators = tuple(Ciwae(beta) for beta in (0.0, 0.5, 1.0))
    plan = Plan(estimators=estimators, K=(K,), M=(M,), draws=draws, seed=seed, blocks=(block,))
    (K,), (M,) = plan.K, plan.M
    if K < 2:
        raise SpecError("K", f"must be at least 2, got {K}", "with one sample beta changes nothing")
    with opened(model, x, plan.mode) as subject:
        plan, remarks = suited(plan, subject.findings, subject.points)
        ready = prepared(subject, plan, folder, progress, stop)
        drawer, part = ready.drawer, select_blocks(ready.layout, [block], "block")[block]
        jobs = [plan.job(estimator, M, K) for estimator in estimators]
        looked_at = min(WEIGHT_DRAWS, jobs[1].draws)
        drawer.expect(jobs, (), {jobs[1]: (looked_at, ())})
        # Half of both bounds is finite where both are.
        weights = drawer.maker.weights(jobs[1], looked_at)
        weights.require_bound()
        parts = Parts(*(_restricted(_whole(drawer, job), part) for job in jobs))
    # Direct draws have M samples already.
    curve = _curve(parts, betas, 1 if plan.direct else M, {"M": M, "K": K, "block": block})
    return replace(
        curve,
        remarks=[*remarks, *filter(None, [weights.remark()]), *drawer.remarks, *curve.remarks],
        settle=ready.store.clear,
    )


def _checked(betas: Sequence[float]) -> list[float]:
    """The betas as numbers.

    Raises:
        SpecError: there is none, or one that does not lie in [0, 1].
    """
    try:
        found = [float(beta) for beta in betas]
    except (TypeError, ValueError):
        found = []
    if not found or not all(0 <= beta <= 1 for beta in found):
        raise SpecError("betas", f"must lie in [0, 1], got {betas!r}", "give for example betas=[0, 0.5, 1]")
    return found


def _whole(drawer: Drawer, job: Job) -> Moments:
    """The moments of all draws of a job.

    Raises:
        Interrupted: stopped before they were made.
    """
    moments = drawer.moments(job)
    if moments.draws < job.draws:
        raise Interrupted
    return moments


def _restricted(moments: Moments, part: slice) -> Moments:
    return Moments([moments.block(g, part) for g in range(moments.blocks)])


def _curve(parts: Parts, betas: Sequence[float], M: int, labels: dict[str, int | str]) -> BetaCurve:
    every = slice(None)
    tight = block_means(parts.none, every)
    rows: list[dict[str, object]] = []
    squares: dict[float, Reading] = {}
    cosines: dict[float, Interval] = {}
    for beta in betas:
        moments = parts.at(beta)
        size = moments.size
        found = [r.of_average(M) for r in read(moments, {"block": slice(0, size)}) if r.metric in _SHOWN]
        squares[beta] = next(r for r in found if r.metric == "snr_pooled_squared")
        cosines[beta] = bias(block_means(moments, every), tight)["bias_cosine"]
        rows += [_row(beta, r.metric, r.interval, r.floor, moments.draws, r.n_coordinates, r.n_dropped) for r in found]
        rows.append(_row(beta, "cosine", cosines[beta], float("nan"), moments.draws, size, 0))
    table = pd.DataFrame(rows).assign(**labels)
    best, told_apart = choice.best(squares)
    loose = block_means(parts.whole, every)
    vanishing, angle = _vanishing(tight, loose), bias(loose, tight)["bias_cosine"]
    remarks = choice.remarks(best, told_apart, cosines)
    if not np.isnan(best):
        remarks += choice.shape(choice.dip(squares), angle, vanishing)
    return BetaCurve(table, best, told_apart, vanishing, remarks)


def _row(
    beta: float, metric: str, interval: Interval, floor: float, draws: int, entered: int, dropped: int
) -> dict[str, object]:
    return {
        "beta": beta, "metric": metric, "value": interval.value, "stderr": interval.stderr, "ci_low": interval.low,
        "ci_high": interval.high, "floor": floor, "draws": draws, "n_coordinates": entered, "n_dropped": dropped,
        "definition": COSINE if metric == "cosine" else describe(metric).definition,
    }  # fmt: skip


def _vanishing(tight: Array, loose: Array) -> Interval:
    """Where |(1 - b) w + b v|^2 is smallest: b = (|w|^2 - v.w) / |v - w|^2, from block means ``[G, p]``."""
    G, every = len(tight), np.arange(len(tight))
    products = tight @ tight.T, loose @ tight.T, (loose - tight) @ (loose - tight).T

    def smallest(kept: Indices) -> float:
        ww, vw, apart = (across(product[np.ix_(kept, kept)]) for product in products)
        return (ww - vw) / apart if apart > 0 else float("nan")

    replicates = np.array([smallest(every[row > 0]) for row in delete_one(G)])
    return student(smallest(every), float(jackknife_stderr(replicates)), G)
