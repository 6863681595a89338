"""One draw whose importance samples do not fit in memory at once."""

import torch
from torch import Tensor

from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator
from snrkit.estimators.streamed import Sums, add_gradients, cotangents_of, log_densities

_ROWS = 2048


def streamed_gradient(problem: Problem, estimator: Estimator, group: int, draw: int, samples: int) -> list[Tensor]:
    """The gradient of one draw in two passes over portions of its samples, whose noise is made again for each.

    Args:
        problem: what is drawn.
        estimator: the estimator.
        group: group of data points.
        draw: which draw of it.
        samples: importance samples at once, at most; more than 2,048 gain nothing and take memory.

    Returns:
        The ascent direction per parameter tensor of the layout.
    """
    model, x = problem.model, problem.group(group)
    width = max(1, min(samples, _ROWS) // problem.points_per_group)
    total = [torch.zeros_like(parameter) for parameter in problem.parameters.values()]

    def sums(network: str) -> Sums:
        own = [owner == network for owner in problem.layout.networks]
        parameters = [p for p, wanted in zip(problem.parameters.values(), own, strict=True) if wanted]
        return parameters, [t for t, wanted in zip(total, own, strict=True) if wanted]

    shape = problem.points_per_group, problem.M, problem.K
    # Not kept beside what comes of them: there may be very many samples.
    cotangents = cotangents_of(
        estimator, log_densities(model, estimator, x, problem.noise.portions(group, draw, width), shape)
    )
    add_gradients(
        model, estimator, x, cotangents, width, lambda: problem.noise.portions(group, draw, width),
        sums("generative"), sums("inference"),
    )  # fmt: skip
    return total
