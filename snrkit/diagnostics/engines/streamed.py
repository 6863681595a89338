"""One draw whose importance samples do not fit in memory at once."""

from collections.abc import Iterator

import torch
from torch import Tensor

from snrkit.backward import derivatives, hides_parameters
from snrkit.batches import Batch
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator, Surrogate
from snrkit.kernels import FastLinear
from snrkit.logweights import LogWeights

_ROWS = 2048


def streamed_gradient(problem: Problem, estimator: Estimator, group: int, draw: int, samples: int) -> list[Tensor]:
    """The gradient of one draw in two passes over portions of its samples; exact for any estimator.

    A surrogate depends on the parameters through the log-weights only. So the first pass computes their values, the
    estimator's derivative with respect to each of them is taken on those values, and the second pass carries these
    cotangents back to the parameters, a portion at a time.

    Args:
        problem: what is drawn.
        estimator: the estimator.
        group: group of data points.
        draw: which draw of it.
        samples: importance samples at once, at most; more than 2,048 gain nothing and take memory.

    Returns:
        The ascent direction per parameter tensor of the layout.
    """
    width = max(1, min(samples, _ROWS) // problem.points_per_group)
    leaves = _values(problem, estimator, group, draw, width)
    cotangents = _cotangents(estimator.surrogate(LogWeights(*leaves)), leaves)
    del leaves
    # theta and phi need different cotangents, and so separate passes, unless one surrogate serves both.
    total = [torch.zeros_like(parameter) for parameter in problem.parameters.values()]
    for network in list(cotangents):
        chosen = [network in ("both", owner) for owner in problem.layout.networks]
        portions = problem.noise.portions(group, draw, width)
        pairs = zip(portions, _split(cotangents.pop(network), width), strict=True)
        _pull_back(problem, estimator, problem.group(group), pairs, chosen, total)
    return total


def _values(problem: Problem, estimator: Estimator, group: int, draw: int, width: int) -> list[Tensor]:
    """log p, log q and, where the estimator needs it, log q with detached parameters, as leaves ``[Bg, M, K]``.

    Samples are exchangeable for the model, so M and K are one axis where they are taken in portions.
    """
    # Filled in place: results kept between the large temporaries would keep the heap from reusing their memory.
    shape = problem.points_per_group, problem.M, problem.K
    x, start = problem.group(group), 0
    leaves: list[Tensor] = []
    with torch.no_grad(), FastLinear():
        for portion in problem.noise.portions(group, draw, width):
            weights = problem.model(x, portion, path=estimator.path)
            found = [weights.log_p, weights.log_q, *([weights.log_q_path] if estimator.path else [])]
            if not leaves:
                leaves = [part.new_empty(shape) for part in found if part is not None]
            stop = start + portion.shape[2]
            for leaf, part in zip(leaves, found, strict=True):
                if part is not None:
                    leaf.view(shape[0], 1, -1)[:, :, start:stop].copy_(part)
            start = stop
    return [leaf.requires_grad_() for leaf in leaves]


def _cotangents(surrogate: Surrogate, leaves: list[Tensor]) -> dict[str, list[Tensor]]:
    theta, phi = surrogate.mean_over_points()
    values = {"both": theta} if surrogate.shared else {"generative": theta, "inference": phi}
    last = list(values)[-1]  # what its pass is done with is freed as it goes: there may be very many samples
    return {
        network: list(torch.autograd.grad(value, leaves, retain_graph=network != last, materialize_grads=True))
        for network, value in values.items()
    }


def _split(cotangent: list[Tensor], width: int) -> Iterator[tuple[Tensor, ...]]:
    flat = [torch.split(part.flatten(1, 2)[:, None], width, dim=2) for part in cotangent]
    return zip(*flat, strict=True)


def _pull_back(
    problem: Problem,
    estimator: Estimator,
    x: Batch,
    portions: Iterator[tuple[Tensor, tuple[Tensor, ...]]],
    chosen: list[bool],
    total: list[Tensor],
) -> None:
    """Add the gradients of the chosen parameters to ``total``, in place."""
    parameters = [p for p, wanted in zip(problem.parameters.values(), chosen, strict=True) if wanted]
    targets = [t for t, wanted in zip(total, chosen, strict=True) if wanted]
    if not parameters:
        return
    for noise, cotangent in portions:
        with FastLinear():
            weights = problem.model(x, noise, path=estimator.path)
        parts = [weights.log_p, weights.log_q, weights.log_q_path][: len(cotangent)]
        # Where a network is frozen, a density may depend on no parameter at all.
        live = [(part, own) for part, own in zip(parts, cotangent, strict=True) if part.requires_grad]
        if not live:
            continue
        values, cotangents = zip(*live, strict=True)
        hidden = hides_parameters(values)
        found = derivatives(problem.model, values, parameters, cotangents, hidden=hidden)
        for target, gradient in zip(targets, found, strict=True):
            target.add_(gradient)
