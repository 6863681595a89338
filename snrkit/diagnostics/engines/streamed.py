"""One draw whose importance samples do not fit in memory at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator
from snrkit.estimators.streamed import add_gradients, cotangents_of, log_densities

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
    model, x, parts = problem.model, problem.group(group), estimator.needs.parts
    width = max(1, min(samples, _ROWS) // problem.points_per_group)
    wanted = problem.wanted
    total = {network: [torch.zeros_like(parameter) for parameter in own] for network, own in wanted.items()}

    def portions() -> Iterator[Tensor]:
        return problem.noise.portions(group, draw, width)

    shape = problem.points_per_group, problem.M, problem.K
    # Not kept beside what comes of them: there may be very many samples.
    cotangents = cotangents_of(estimator.objective.served(wanted), log_densities(model, parts, x, portions(), shape))
    add_gradients(model, parts, x, cotangents, width, portions, wanted, total)
    return [tensor for own in total.values() for tensor in own]
