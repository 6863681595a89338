"""A measurement along a training in the user's own loop, which disturbs nothing and keeps to a share of the time."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from snrkit.diagnostics.tables import Provenance
from snrkit.errors import NonFiniteError, OutputError, ResourceError, SpecError
from snrkit.losses.asked import asked
from snrkit.losses.measure import Direction, LossMeasurement, diagnose_loss
from snrkit.losses.parameters import trained
from snrkit.losses.trial import Found
from snrkit.monitor.budget import Budget
from snrkit.monitor.writers import Writer, writer_of
from snrkit.runs.kinds.snr import SNR
from snrkit.specs.base import Mode, short
from snrkit.specs.given import plain

_LOG = logging.getLogger("snrkit")


class Monitor:
    """Measures losses every so many steps of a training, on the parameters as they are then.

    Call it after the optimiser's step: ``monitor(step)``. The training goes on as if it had not been called, to the bit:
    weights, gradients, buffers, modes, generators. What was compiled is measured as it was written. Gradients that are not
    finite, and files that cannot be written, are warned of and counted, and end no training. Parameters that are frozen for
    a while are measured on; those that are trained only later, or took others' places in a module, are measured from then.

    Args:
        objective: a loss, or several by name, as ``measure_loss`` takes them.
        model_or_parameters: as for ``measure_loss``.
        batch: what the loss is called with at every measurement, so that readings along the training are of the same data;
            a function that draws batches; or None, where the call gives one or the loss needs none.
        every: measure at multiples of so many steps.
        draws: gradient draws of a measurement, at least 4; with a budget fewer, as fit, and none under 8.
        budget: share of the time since the first call that measurements may take, by the monitor's own clock; only what has
            accrued is spent, and what does not fit is skipped and counted. How many draws then fit depends on the machine:
            None sets no limit, and readings can be reproduced.
        seed: root of the draws, the same at every step.
        groups: as for ``measure_loss``.
        mode: as for ``measure_loss``.
        direction: as for ``measure_loss``.
        M: as for ``measure_loss``.
        repeats: as for ``measure_loss``.
        noise: as for ``measure_loss``.
        out: Parquet file that the rows are added to at each measurement, whole or not at all; rows of a step measured again
            replace the old ones, so that a resumed training goes on with the same file.
        run: name of the run in the table.
        data: which data, in the table.
        writer: where readings are told too: TensorBoard's ``SummaryWriter``, a Weights & Biases run, ``mlflow``, a logger
            with ``log_metrics``, or a function of (values by name, step).

    Attributes:
        skipped: measurements that did not fit in the budget.
        failed: measurements that gave nothing; the reason is logged.
    """

    def __init__(  # noqa: PLR0913 (one option each; most by keyword)
        self,
        objective: Callable[..., Any] | Mapping[str, Callable[..., Any]],
        model_or_parameters: Any,
        batch: Any = None,
        *,
        every: int = 500,
        draws: int = 200,
        budget: float | None = 0.05,
        seed: int = 0,
        groups: Mapping[str, Any] | None = None,
        mode: Mode = "training",
        direction: Direction = "descent",
        M: int | Iterable[int] = 1,
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
        self._groups = {name: _kept(part) for name, part in groups.items()} if isinstance(groups, Mapping) else groups
        self._asked = asked(
            objective, model_or_parameters, self._groups, batch, draws=draws, seed=seed, mode=mode, direction=direction, M=M,
            repeats=repeats, noise=noise,
        )  # fmt: skip
        self._every, self._last = number, -1
        self._budget = Budget(budget, self._asked.trained.layout.size * len(self._asked.losses))
        self._known: dict[str, Found] = {}
        self._about = Provenance(run, 0, data)
        self._out = None if out is None else Path(out)
        self._writer: Writer | None = None if writer is None else writer_of(writer)
        self._tables: list[pd.DataFrame] = []
        self._said: set[str] = set()
        self.skipped = self.failed = 0

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
            return pd.DataFrame(columns=list(SNR.columns))
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
            SpecError, ModelError, CapabilityError: as for ``measure_loss``.
        """
        self._budget.start()
        is_due = self.due(step)
        if step < self._last:
            self._warn_of_earlier(step)
        self._last = max(self._last, step)
        if not is_due:
            return None
        least = 4 * self._asked.repeats
        draws = self._budget.fitting(self._asked.draws, max(least, 8), self._asked.repeats)
        if not draws:
            self.skipped += 1
            return None
        begin = time.perf_counter()
        try:
            found = self._measured(step, draws, batch)
        finally:
            self._budget.spend(time.perf_counter() - begin)
        return None if found is None else found.table

    def _measured(self, step: int, draws: int, batch: Any) -> LossMeasurement | None:
        self._look_again()
        what = replace(self._asked, draws=draws)
        what = what if batch is None else replace(what, batch=batch, redrawn=False, repeats=1)
        try:
            with _requiring(what.trained.tensors):
                found = diagnose_loss(what, provenance=replace(self._about, step=step), known=self._known)
            self._known = found.found
            self._tables.append(found.table)
            self._budget.learn(draws, found.drawing_seconds)
            self._tell(found, step)
        except (NonFiniteError, OutputError, ResourceError) as error:
            self.failed += 1
            _LOG.warning("Monitor at step %d: %s", step, error)
            return None
        return found

    def _look_again(self) -> None:
        """See which parameters there are by now."""
        before = self._asked.trained
        with _requiring(before.tensors):
            now = trained(before.given, self._groups)
        if list(map(id, now.tensors)) != list(map(id, before.tensors)):
            self._asked, self._known = replace(self._asked, trained=now), {}

    def _warn_of_earlier(self, step: int) -> None:
        if "earlier" not in self._said:
            self._said.add("earlier")
            remark = "nothing is measured until steps pass that one; count on over epochs"
            _LOG.warning("Monitor: step %d comes after step %d: %s", step, self._last, remark)

    def _tell(self, found: LossMeasurement, step: int) -> None:
        for remark in (remark for remark in found.remarks if remark not in self._said):
            self._said.add(remark)
            _LOG.warning("Monitor: %s", remark)
        if self._out is not None:
            found.save(self._out)
        if self._writer is not None:
            blocks = ["all", *self._asked.trained.groups]
            self._writer(_values(found.table, blocks), step)


def _kept(part: Any) -> Any:
    return list(part) if isinstance(part, Iterator) else part


@contextmanager
def _requiring(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Within the block the tensors require a gradient, also those that do not just now."""
    frozen = [tensor for tensor in tensors if not tensor.requires_grad]
    try:
        for tensor in frozen:
            tensor.requires_grad_(True)
        yield
    finally:
        for tensor in frozen:
            tensor.requires_grad_(False)


# What a writer is told; the table has everything.
_TOLD = ("snr_mean", "snr_pooled", "variance", "mean_norm", "noise_scale", "data_variance", "monte_carlo_variance")


def _values(table: pd.DataFrame, blocks: list[str]) -> dict[str, float]:
    chosen = table[table["block"].isin(blocks) & table["metric"].isin(_TOLD)]
    several = chosen["M"].nunique() > 1
    return {
        f"snr/{row.estimator}/{row.block}/{row.metric}" + (f"/M={row.M}" if several else ""): float(row.value)  # type: ignore[arg-type]
        for row in chosen.itertuples()
    }
