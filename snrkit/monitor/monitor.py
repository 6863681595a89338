"""A measurement along a training in the user's own loop, which disturbs nothing and keeps to a share of the time."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.tables import Provenance
from snrkit.errors import NonFiniteError, OutputError, ResourceError, SnrkitError, SpecError
from snrkit.estimators.base import Estimator
from snrkit.losses.asked import asked
from snrkit.losses.measure import Direction
from snrkit.monitor.budget import Budget
from snrkit.monitor.estimators import Estimators
from snrkit.monitor.losses import Losses, kept
from snrkit.monitor.objectives import Objective, Result
from snrkit.monitor.writers import Writer, writer_of
from snrkit.runs.kinds.snr import SNR, require_asked_alike
from snrkit.runs.tidy import TidyTable
from snrkit.specs.base import Mode, short
from snrkit.specs.given import plain
from snrkit.specs.measure import Execution

_LOG = logging.getLogger("snrkit")
# What another step may be spared: each time is told of.
_PASSING = (NonFiniteError, OutputError, ResourceError)


class Monitor:
    """Measures losses, or estimators, every so many steps of a training, on the parameters as they are then.

    Call it after the optimiser's step: ``monitor(step)``. The training goes on as if it had not been called, to the bit:
    weights, gradients, buffers, modes, generators. What was compiled is measured as it was written. Gradients that are not
    finite, files that cannot be written, and after the first call whatever cannot be measured, are warned of and counted,
    and end no training. Parameters that are frozen for a while are measured on; those that are trained only later, or took
    others' places in a module, are measured from then.

    Args:
        objective: a loss, or several by name, as ``measure_loss`` takes them; or estimators, one or several, by their names
            or as objects, as ``measure`` does.
        model_or_parameters: as for ``measure_loss``; of estimators the model, as for ``measure``.
        batch: what the loss is called with at every measurement, so that readings along the training are of the same data;
            a function that draws batches; or None, where the call gives one or the loss needs none. Of estimators x.
        every: measure at multiples of so many steps.
        draws: gradient draws of a measurement, at least 4; with a budget fewer, as fit, and none under 8.
        budget: share of the time since the first call that measurements may take, by the monitor's own clock; only what has
            accrued is spent, and what does not fit is skipped and counted. How many draws then fit depends on the machine:
            None sets no limit, and readings can be reproduced.
        seed: root of the draws, the same at every step.
        M: as for ``measure_loss`` or ``measure``.
        mode: of the modules; None: ``training`` for losses, ``evaluation`` for estimators, as those two have it.
        K: of estimators, as for ``measure``; they need it.
        blocks: of estimators, as for ``measure``.
        engine: of estimators, as for ``measure``.
        direct: of estimators, as for ``measure``.
        groups: of losses, as for ``measure_loss``.
        direction: of losses, as for ``measure_loss``.
        repeats: of losses, as for ``measure_loss``.
        noise: of losses, as for ``measure_loss``.
        out: Parquet file that the rows are added to at each measurement, whole or not at all; rows of a step measured again
            replace the old ones, so that a resumed training goes on with the same file. Readings of an earlier training at
            other M or K under the same name are refused at the first measurement.
        run: name of the run in the table.
        data: which data, in the table.
        writer: where readings are told too: TensorBoard's ``SummaryWriter``, a Weights & Biases run, ``mlflow``, a logger
            with ``log_metrics``, or a function of (values by name, step). What it raises is logged once, and ends nothing.

    Raises:
        SpecError, CapabilityError: as for ``measure_loss`` or ``measure``, of what is seen without a draw.
        ResultsError: the file is of another kind of results, or damaged.

    Attributes:
        skipped: measurements that did not fit in the budget.
        failed: measurements that gave nothing; the reason is logged.
        untold: measurements that the writer did not take; the table has them.
    """

    def __init__(  # noqa: PLR0913 (one option each; most by keyword)
        self,
        objective: Callable[..., Any] | Mapping[str, Callable[..., Any]] | str | Estimator | Iterable[str | Estimator],
        model_or_parameters: Any,
        batch: Any = None,
        *,
        every: int = 500,
        draws: int = 200,
        budget: float | None = 0.05,
        seed: int = 0,
        M: int | Iterable[int] = 1,
        mode: Mode | None = None,
        K: int | Iterable[int] | None = None,
        blocks: str | Iterable[str] | None = None,
        engine: str = "factors",
        direct: bool = False,
        groups: Mapping[str, Any] | None = None,
        direction: Direction = "descent",
        repeats: int = 2,
        noise: Iterable[int] | None = None,
        out: Path | str | None = None,
        run: str = "python",
        data: str = "given",
        writer: Any = None,
    ) -> None:
        number = plain(every)
        if number is None or number < 1:
            raise SpecError(
                "every", f"must be a whole number of steps, at least 1, got {short(every)}", "give e.g. 500"
            )
        both: dict[str, Any] = {"draws": draws, "seed": seed, "M": M} | ({} if mode is None else {"mode": mode})
        groups = kept(groups)
        of_losses: dict[str, Any] = {"groups": groups, "direction": direction, "repeats": repeats, "noise": noise}
        of_estimators: dict[str, Any] = {"K": K, "blocks": blocks, "engine": engine, "direct": direct}
        self._objective: Objective
        if _is_of_estimators(objective):
            _refuse(of_losses, "losses, and estimators are measured")
            plan = _plan(objective, both | of_estimators)
            self._objective = Estimators(model_or_parameters, batch, plan)
        else:
            _refuse(of_estimators, "estimators, and a loss has the samples that it draws")
            what = asked(objective, model_or_parameters, batch=batch, **both, **of_losses)
            self._objective = Losses(what, groups)
        self._every, self._last = number, -1
        self._budget = Budget(budget, self._objective.coordinates)
        self._about = Provenance(run, 0, data)
        self._out = None if out is None else Path(out)
        if self._out is not None and self._out.exists():
            SNR.read(self._out)  # a file of another kind is better told than drawn for
        self._suits = False  # whether the file was found to go with what is measured
        self._writer: Writer | None = None if writer is None else writer_of(writer)
        self._tables: list[pd.DataFrame] = []
        self._said: set[str] = set()
        self.skipped = self.failed = self.untold = 0

    @property
    def seconds(self) -> float:
        """Time that measurements took."""
        return self._budget.spent

    @property
    def share(self) -> float:
        """Share of the time since the first call that measurements took."""
        return self._budget.share

    @property
    def table(self) -> pd.DataFrame:
        """The tidy table of all that this monitor measured, a step after another."""
        if not self._tables:
            return TidyTable(columns=list(SNR.columns))
        return pd.concat(self._tables, ignore_index=True)

    def due(self, step: int) -> bool:
        """Whether a call at this step measures, if the budget allows it: at multiples of ``every``, and past one."""
        first = self._last < 0
        return step % self._every == 0 if first else step // self._every > self._last // self._every

    def __call__(self, step: int, batch: Any = None) -> pd.DataFrame | None:
        """Measure if it is time to, after the optimiser's step.

        Args:
            step: optimiser steps done, or their index.
            batch: what the loss is called with this time, where it is not the one that the monitor was given.

        Returns:
            The rows of this step, or None where nothing was measured.

        Raises:
            SpecError, ModelError, CapabilityError: as for ``measure_loss``, at the first call; later the training has begun.
            ResultsError: the file does not go with what is measured; at the first call too.
        """
        self._budget.start()
        is_due, is_first = self.due(step), self._last < 0
        if step < self._last:
            self._warn_of_earlier(step)
        self._last = max(self._last, step)
        if not is_due:
            return None
        multiple = self._objective.multiple
        draws = self._budget.fitting(self._objective.draws, max(4 * multiple, 8), multiple)
        if not draws:
            self.skipped += 1
            return None
        begin = time.perf_counter()
        try:
            found = self._measured(step, draws, batch)
        except Exception as error:
            if not self._endures(error, is_first):
                raise
            self.failed += 1
            self._warn_of(error, step)
            return None
        finally:
            self._budget.spend(time.perf_counter() - begin)
        return found.table

    def _measured(self, step: int, draws: int, batch: Any) -> Result:
        found = self._objective.measured(draws, batch, replace(self._about, step=step))
        self._tables.append(found.table)
        self._budget.learn(draws, found.drawing_seconds)
        self._tell(found, step)
        return found

    def _endures(self, error: Exception, is_first: bool) -> bool:
        """Whether the training goes on: at its first call what is asked for amiss is better told than kept for later."""
        return isinstance(error, _PASSING) or (isinstance(error, SnrkitError) and not is_first)

    def _warn_of(self, error: Exception, step: int) -> None:
        said = str(error) if isinstance(error, SnrkitError) else f"{type(error).__name__}: {error}"
        if isinstance(error, _PASSING) or said not in self._said:
            self._said.add(said)
            _LOG.warning("Monitor at step %d: %s", step, said)

    def _warn_of_earlier(self, step: int) -> None:
        if "earlier" not in self._said:
            self._said.add("earlier")
            remark = "nothing is measured until steps pass that one; count on over epochs"
            _LOG.warning("Monitor: step %d comes after step %d: %s", step, self._last, remark)

    def _tell(self, found: Result, step: int) -> None:
        for remark in found.remarks:
            self._warn_once(remark)
        if self._out is not None:
            if not self._suits:
                require_asked_alike(self._out, found.table)
                self._suits = True
            found.save(self._out)
        if self._writer is None:
            return
        try:
            self._writer(_values(found.table, self._objective.told), step)
        except Exception as error:  # of whatever kind, from another library; the table has the readings
            self.untold += 1
            problem = f"the writer raised {type(error).__name__}: {' '.join(str(error).split())}"
            self._warn_once(f"{problem}; the table has the readings that it did not take")

    def _warn_once(self, remark: str) -> None:
        if remark not in self._said:
            self._said.add(remark)
            _LOG.warning("Monitor: %s", remark)


def _is_of_estimators(objective: Any) -> bool:
    if isinstance(objective, Sequence | Set) and not isinstance(objective, str):
        return any(isinstance(item, str | Estimator) for item in objective)
    return isinstance(objective, str | Estimator)


# What those options are that are of one kind of objective, where nobody gave them.
_LEFT_OUT: Mapping[str, Any] = {"engine": "factors", "direct": False, "direction": "descent", "repeats": 2}


def _refuse(options: Mapping[str, Any], of: str) -> None:
    odd = next((name for name, value in options.items() if value is not None and value != _LEFT_OUT.get(name)), None)
    if odd is not None:
        raise SpecError(odd, f"is of {of}", "leave it out")


def _plan(estimators: Any, options: Mapping[str, Any]) -> Plan:
    if options["K"] is None:
        raise SpecError("K", "is missing", "give the numbers of importance samples, e.g. K=[1, 10]")
    engine = options["engine"]
    return Plan(
        estimators=estimators, how=Execution(engine=engine), **{k: v for k, v in options.items() if k != "engine"}
    )


# What a writer is told; the table has everything.
_TOLD = ("snr_mean", "snr_pooled", "variance", "mean_norm", "noise_scale", "data_variance", "monte_carlo_variance")


def _values(table: pd.DataFrame, blocks: Sequence[str]) -> dict[str, float]:
    # Of the parts of the noise those whose errors are over points, which hold for the data.
    told = table["block"].isin(blocks) & table["metric"].isin(_TOLD) & (table["scope"] != "points")
    chosen = table[told]
    several = [name for name in ("M", "K") if chosen[name].nunique() > 1]
    return {
        "/".join(
            ["snr", f"{row['estimator']} {row['options']}".strip(), str(row["block"]), str(row["metric"])]
            + [f"{name}={row[name]}" for name in several]
        ): float(row["value"])
        for _, row in chosen.iterrows()
    }
