"""The engine of many draws in one pass. Works for any model that vmap can trace."""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

from torch import Tensor

from snrkit.diagnostics.engines.base import PassSize, accumulate
from snrkit.diagnostics.engines.batched import batched_gradients
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.engines.probe import try_vmap
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Problem
from snrkit.errors import CapabilityError
from snrkit.estimators.base import Estimator
from snrkit.models.base import LatentModel

_REMEDY = "choose engine 'factors', which hands on what it cannot do, or 'loop'"


class VmapEngine:
    """Gradients of ``units`` draws at a time; a draw too large for one pass goes through the loop engine's parts."""

    name = "vmap"

    def __init__(self) -> None:
        self._tried: WeakKeyDictionary[LatentModel, set[Estimator]] = WeakKeyDictionary()

    def gradients(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> Iterator[list[Tensor]]:
        """Portions of draws: tensors ``[r, len(groups), *shape]``.

        Raises:
            CapabilityError: vmap cannot draw this model's gradients.
        """
        if problem.samples_per_draw > size.samples:
            return LoopEngine().gradients(problem, estimator, groups, draws, size)
        self._require(problem, estimator)
        return batched_gradients(problem, estimator, groups, draws, size)

    def moments(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> PointMoments:
        """Moments over ``draws`` of each group."""
        return accumulate(self.gradients(problem, estimator, groups, draws, size))

    def serving(self, problem: Problem, estimator: Estimator) -> dict[str, str]:  # noqa: ARG002
        """Itself, for every parameter."""
        return dict.fromkeys(problem.layout.names, self.name)

    def _require(self, problem: Problem, estimator: Estimator) -> None:
        if problem.seeded is not None:
            reason = "cannot give every draw the random numbers of its own that a model in training mode draws"
            raise CapabilityError("engine", f"vmap {reason}", _REMEDY)
        tried = self._tried.setdefault(problem.model, set())
        if estimator in tried:
            return
        wrong = try_vmap(problem, estimator).wrong
        if wrong:
            raise CapabilityError("engine", f"vmap cannot draw this model's gradients ({wrong})", _REMEDY)
        tried.add(estimator)
