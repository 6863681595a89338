"""Many draws in one pass: torch.func's per-sample gradients, vmap over vjp. Works for any model that vmap can trace."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from snrkit.diagnostics.engines.base import PassSize, accumulate
from snrkit.diagnostics.engines.loop import LoopEngine
from snrkit.diagnostics.moments import PointMoments
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator
from snrkit.models.base import call_with

Parameters = dict[str, Tensor]


class VmapEngine:
    """Gradients of ``units`` draws at a time; a draw too large for one pass goes through the loop engine's parts."""

    name = "vmap"

    def gradients(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> Iterator[list[Tensor]]:
        """Portions of draws: tensors ``[r, len(groups), *shape]``."""
        if problem.samples_per_draw > size.samples:
            yield from LoopEngine().gradients(problem, estimator, groups, draws, size)
            return
        gradient = _batched(problem, estimator)
        parameters = {name: parameter.detach() for name, parameter in problem.parameters.items()}
        x = problem.x[groups.start : groups.stop]
        step = max(1, size.units // len(groups))
        for start in range(draws.start, draws.stop, step):
            portion = range(start, min(start + step, draws.stop))
            noise = torch.stack([problem.noise.draw(group, portion) for group in groups], dim=1)
            found = gradient(parameters, x, noise)
            yield [found[name] for name in problem.layout.names]

    def moments(
        self, problem: Problem, estimator: Estimator, groups: range, draws: range, size: PassSize
    ) -> PointMoments:
        """Moments over ``draws`` of each group."""
        return accumulate(self.gradients(problem, estimator, groups, draws, size))

    def serving(self, problem: Problem, estimator: Estimator) -> dict[str, str]:  # noqa: ARG002
        """Itself, for every parameter."""
        return dict.fromkeys(problem.layout.names, self.name)


def _batched(problem: Problem, estimator: Estimator) -> Callable[[Parameters, Tensor, Tensor], Parameters]:
    """(parameters, x [p, Bg, ...], noise [r, p, Bg, ...]) to gradients [r, p, *shape]."""
    owners = dict(zip(problem.layout.names, problem.layout.networks, strict=True))
    others = {name: p.detach() for name, p in problem.model.named_parameters() if name not in owners}

    def one(parameters: Parameters, x: Tensor, noise: Tensor) -> Parameters:
        shared = True

        def values(candidate: Parameters) -> tuple[Tensor, Tensor]:
            nonlocal shared
            weights = call_with(problem.model, others | candidate, x, noise, estimator.path)
            surrogate = estimator.surrogate(weights)
            shared = surrogate.shared
            return surrogate.mean_over_points()

        (theta, phi), pull = torch.func.vjp(values, parameters)  # type: ignore[misc]
        for_theta: Parameters = pull((torch.ones_like(theta), torch.zeros_like(phi)))[0]
        if shared:
            return for_theta
        for_phi: Parameters = pull((torch.zeros_like(theta), torch.ones_like(phi)))[0]
        return {name: (for_phi if owners[name] == "inference" else for_theta)[name] for name in owners}

    # The data are not batched over draws, so that what depends on them alone is computed once.
    over_groups = torch.func.vmap(one, in_dims=(None, 0, 0))
    batched: Callable[[Parameters, Tensor, Tensor], Parameters] = torch.func.vmap(over_groups, in_dims=(None, None, 0))
    return batched
