"""The obvious engine: one backward pass per draw. Slow, works for every model, and the reference for the others."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snrkit.diagnostics.engines.base import PassSize, PlainGradients, accumulate
from snrkit.diagnostics.engines.streamed import streamed_gradient
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator


class LoopEngine:
    """Plain backward passes, one draw of one group at a time."""

    name = "loop"

    def gradients(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> Iterator[list[Tensor]]:
        """One draw at a time: tensors ``[1, len(groups), *shape]``."""
        plain = PlainGradients(problem, estimator)
        for draw in draws:
            found = [self._one(problem, estimator, plain, group, draw, size) for group in groups]
            yield [torch.stack(tensors)[None] for tensors in zip(*found, strict=True)]

    def moments(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> PointMoments:
        """Moments over ``draws`` of each group."""
        return accumulate(self.gradients(problem, estimator, groups, draws, size))

    def serving(self, problem: Problem, estimator: Estimator) -> dict[str, str]:  # noqa: ARG002
        """Itself, for every parameter."""
        return dict.fromkeys(problem.layout.names, self.name)

    def _one(
        self, problem: Problem, estimator: Estimator, plain: PlainGradients, group: int, draw: int, size: PassSize
    ) -> list[Tensor]:
        if problem.seeded is not None:  # such a draw is never divided
            with problem.seeded.at(group, draw):
                return plain.of(problem.group(group), problem.noise.draw(group, range(draw, draw + 1))[0])
        if problem.samples_per_draw <= size.samples:
            return plain.of(problem.group(group), problem.noise.draw(group, range(draw, draw + 1))[0])
        return streamed_gradient(problem, estimator, group, draw, size.samples)
