"""How to spend T = M K samples per data point: which M, K and estimator, by measurement.

Rules. Inference network: the highest snr_pooled of its gradient. Generative network: the tightest bound, since that is what
it learns from, if its gradient stands clear of the noise. Both: the highest inference SNR among the settings whose
generative network keeps the tightest bound (PIWAE's split). A setting is recommended only where it stands clear of every
other: the paired 95 % interval against it excludes a tie or, where the other's SNR is lost in the noise, so that there is no
ratio, both intervals lie apart.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from snrkit.backend.machine import threads as on_threads
from snrkit.core.logweights import log_mean_exp
from snrkit.core.streams import Streams
from snrkit.diagnostics.budget import Begun, Setting, require_step_room, same_by_definition, settings
from snrkit.diagnostics.choosing import name, once, recommend
from snrkit.diagnostics.measure import Measurement, diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.prepared import count
from snrkit.diagnostics.tables import title
from snrkit.errors import SpecError
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.evaluation.bounds import sample_log_weights
from snrkit.evaluation.cost import step_seconds
from snrkit.fleet.elsewhere import Elsewhere
from snrkit.interrupt import Interrupted
from snrkit.models.base import LatentModel
from snrkit.runs.kinds.advice import ADVICE
from snrkit.runs.place import Place, target
from snrkit.specs.measure import Execution
from snrkit.trial.data import as_batch
from snrkit.trial.needs import require_pure, unmet
from snrkit.trial.opening import opened
from snrkit.types import Progress

REFERENCE_SAMPLES = 5000
# Of these, the ones that are right for a model: with a path through z, or without.
CANDIDATES = ("vae", "iwae", "piwae", "dreg")
BY_SCORES = ("rws", "wake-sleep", "reinforce", "vimco", "ovis-tilde", "rloo", "tvo")


@dataclass(frozen=True)
class Advice:
    """What to do, per goal.

    Attributes:
        table: one row per setting: estimator, M, K, both SNRs (snr_pooled) with standard errors, seconds per step, bound
            gap in nats; name and options of the estimator apart; ``same``, settings whose gradients are the same, which
            have no row of their own.
        recommendations: per goal: ``goal``, ``network``, ``row`` of the table and the ``setting`` in words (None and empty
            where it cannot be told), ``reason``, ``draws_needed`` (NaN where it is settled); ``next``, the setting that it
            was held against, with ``margin``, the ratio of both SNRs on the same noise, and its 95 % interval from
            ``margin_low`` to ``margin_high`` (empty and NaN where there is none).
        measurement: the draws behind them.
        about: of a run, what its file says beside these: run, step, data, budget, draws and seed.
        place: of a run, where it goes.
        begun: of a run, the budget that was found affordable.
    """

    table: pd.DataFrame
    recommendations: pd.DataFrame
    measurement: Measurement = field(repr=False)
    about: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = field(default=None, repr=False)
    begun: Begun | None = field(default=None, repr=False)

    def save(self, path: Path | None = None) -> Path:
        """Write the advice on a run, whole or not at all; the draws that were kept for it go.

        Args:
            path: a JSON file; None: where it was announced that it goes.

        Raises:
            SpecError: neither a path nor a run says where.
            OutputError: it cannot be written.
        """
        tables = {"table": self.table, "recommendations": self.recommendations}
        with target(self.place, path) as file:
            ADVICE.write(file, {**self.about, **{name: table.to_dict("records") for name, table in tables.items()}})
            self.measurement.settle()
            if self.begun is not None:
                self.begun.forget()
        return file


def advise(  # noqa: PLR0913 (one option each; most by keyword)
    model: LatentModel,
    x: Tensor,
    batch: Tensor,
    budget: int,
    estimators: Sequence[Estimator],
    *,
    draws: int,
    seed: int,
    seconds: float | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] = lambda: False,
    threads: int | None = None,
    elsewhere: Elsewhere | None = None,
) -> Advice:
    """Measure every setting of a budget and say which to use.

    Args:
        model: the model.
        x: data points of the SNR and the bound, ``[B, *event]``.
        batch: a minibatch to time steps on.
        budget: samples per data point T = M K.
        estimators: the candidates.
        draws: gradient draws R.
        seed: root of the noise.
        seconds: recommend only settings whose step takes at most so long (the cheapest, if none does); None: any.
        folder: keep finished blocks of draws here; the same call then goes on from where an interrupted one stopped.
        progress: called with (done, total, note).
        stop: asked after every block of draws; True ends them.
        threads: of draws and bounds, as for ``snrkit.measure``; steps are timed on as many as torch takes.
        elsewhere: workers that make the draws; None: this process does.

    Raises:
        SpecError: the estimators cannot spend this budget.
        ModelError, CapabilityError, NonFiniteError: as for ``snrkit.measure``.
        ResourceError: a training step with that many samples cannot fit in memory.
        Interrupted: stopped before all draws were made.
    """
    every = settings(budget, estimators)
    with opened(model, x, "evaluation") as subject:
        require_pure("a bound over test points", subject.findings)
        require_step_room(subject.model, as_batch(batch, subject.device, subject.dtype), budget)
    if not every:
        raise SpecError("estimators", f"none of them can spend {budget} samples", "raise `budget` or add iwae")
    pairs = tuple(dict.fromkeys((M, K) for _, M, K in every))
    M, K = (tuple(dict.fromkeys(values)) for values in zip(*pairs, strict=True))
    plan = Plan(
        estimators=tuple(estimators),
        K=K,
        M=M,
        draws=draws,
        seed=seed,
        blocks=("inference", "generative"),
        pairs=pairs,
        how=Execution(threads=threads),
    )
    measurement = diagnose(model, x, plan, folder=folder, progress=progress, stop=stop, elsewhere=elsewhere)
    if not measurement.complete:
        raise Interrupted
    with opened(model, x, plan.mode) as subject:
        with on_threads(count(plan, elsewhere)):
            log_w = sample_log_weights(subject.model, subject.x, max(REFERENCE_SAMPLES, budget), Streams(seed))
        every = [setting for setting in every if _is_measured(setting, measurement.table)]
        batch = as_batch(batch, subject.device, subject.dtype)
        rows = [
            _row(subject.model, batch, log_w, setting, measurement.table)
            | {"same": ", ".join(map(name, same_by_definition(setting, estimators)))}
            for setting in every
        ]
    every, rows = once(every, rows, measurement)
    costs = [float(row["seconds_per_step"]) for row in rows]  # type: ignore[arg-type]
    within = [i for i, cost in enumerate(costs) if cost <= max(seconds or math.inf, min(costs))]
    chosen = recommend([every[i] for i in within], measurement, [rows[i] for i in within], draws)
    advised = pd.Series(
        [None if own is None else every.index(own) for own in (a.pop("of") for a in chosen)], dtype=object
    )
    return Advice(pd.DataFrame(rows), pd.DataFrame(chosen).assign(row=advised), measurement)


def candidates(model: LatentModel, x: Tensor) -> tuple[Estimator, ...]:
    """The estimators that are measured where none are named: the common ones that are right for a model.

    Args:
        model: the model.
        x: data ``[B, *event]``.

    Raises:
        SpecError, ModelError, CapabilityError, NonFiniteError: as for ``snrkit.measure``.
    """
    with opened(model, x, "evaluation") as subject:
        without = subject.findings.reparameterised is False
        named = [build_estimator(name, {}) for name in (BY_SCORES if without else CANDIDATES)]
        return tuple(own for own in named if not unmet(own.needs, subject.findings)) or tuple(named)


def _is_measured(setting: Setting, table: pd.DataFrame) -> bool:
    """Whether a setting's gradients could be read at all: weights may be zero at small K."""
    estimator, M, K = setting
    own = (table.estimator == estimator.name) & (table.options == estimator.describe())
    return bool((own & (table.M == M) & (table.K == K)).any())


def _row(model: LatentModel, batch: Tensor, log_w: Tensor, setting: Setting, table: pd.DataFrame) -> dict[str, object]:
    estimator, M, K = setting
    own = (table.estimator == estimator.name) & (table.options == estimator.describe())
    rows = table[own & (table.M == M) & (table.K == K) & (table.metric == "snr_pooled")].set_index("block")
    snr = {
        f"snr_{network}{suffix}": rows.loc[network, column]
        for network in ("inference", "generative")
        for suffix, column in (("", "value"), ("_stderr", "stderr"))
    }
    return {
        "estimator": title(estimator), "M": M, "K": K, **snr,
        "seconds_per_step": step_seconds(model, estimator, batch, M, K), "bound_gap": bound_gap(estimator, log_w, M, K),
        "name": estimator.name, "options": estimator.describe(),
    }  # fmt: skip


def bound_gap(estimator: Estimator, log_w: Tensor, M: int, K: int) -> float:
    """log p^ - L in nats, mean over data points: by how much the estimator's own bound is loose.

    Args:
        estimator: whose bound.
        log_w: log-weights ``[B, S]``; log p^ is the bound of all S.
        M: outer samples.
        K: importance samples.
    """
    groups = log_w[:, : log_w.shape[1] // (M * K) * M * K].reshape(len(log_w), -1, M, K)
    own = estimator.bound(groups).mean(dim=1)
    return float((log_mean_exp(log_w) - own).mean())
