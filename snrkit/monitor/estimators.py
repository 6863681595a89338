"""Estimators on a latent-variable model as what a monitor measures."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from torch import nn

from snrkit.core.objective import NETWORKS
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.measure import Measurement, diagnose
from snrkit.diagnostics.plan import Plan
from snrkit.diagnostics.prepared import select_blocks
from snrkit.diagnostics.problem import Layout
from snrkit.diagnostics.suiting import suited
from snrkit.diagnostics.tables import Provenance
from snrkit.errors import NonFiniteError, SpecError
from snrkit.models.calling import parameters_of
from snrkit.monitor.objectives import requiring
from snrkit.trial.opening import opened


class Estimators:
    """A plan on a model; where data are given, both are tried at once, so that a training does not find out later.

    Args:
        model: as for ``measure``.
        x: data that are measured on; None: each call gives some.
        plan: what to measure.

    Raises:
        SpecError, ModelError, CapabilityError, ResourceError: as for ``measure``.
    """

    def __init__(self, model: nn.Module, x: Any, plan: Plan) -> None:
        if not isinstance(model, nn.Module):
            problem = f"is a {type(model).__name__}, and estimators are measured on a model"
            raise SpecError("model_or_parameters", problem, "give a module with encode and log_joint")
        self._model, self._x, self._plan = model, x, plan
        self._trained: set[str] = set()
        self.draws, self.multiple = plan.draws, 1
        self._look_again()
        ENGINES.require(plan.how.engine)
        if x is not None:
            # What is not finite yet may come to be; it ends no training.
            with suppress(NonFiniteError), opened(model, x, plan.mode) as subject:
                suited(plan, subject.findings, subject.points)
                select_blocks(Layout.of(subject.model, subject.x), plan.blocks)

    @property
    def coordinates(self) -> int:
        """Of the gradients of all estimators at all K."""
        size = sum(parameter.numel() for parameter in parameters_of(self._model).values())
        return size * len(self._plan.estimators) * len(self._plan.K)

    @property
    def told(self) -> Sequence[str]:
        """The networks, and both where they have the same units."""
        return [*NETWORKS, "all"]

    def measured(self, draws: int, batch: Any, about: Provenance) -> Measurement:
        """See ``Objective``."""
        x = self._x if batch is None else batch
        if x is None:
            raise SpecError("batch", "is missing", "give data to the monitor, or to this call: monitor(step, x)")
        self._look_again()
        parameters = parameters_of(self._model)
        with requiring([parameter for name, parameter in parameters.items() if name in self._trained]):
            return diagnose(self._model, x, self._plan.replaced(draws=draws), provenance=about)

    def _look_again(self) -> None:
        """See which parameters are trained by now; those that were are measured on."""
        found = parameters_of(self._model).items()
        self._trained |= {name for name, parameter in found if parameter.requires_grad}
