"""One draw whose importance samples do not fit in memory at once."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import Estimator, Surrogate
from snrkit.kernels import FastLinear
from snrkit.logweights import LogWeights

_ROWS = 2048


def streamed_gradient(problem: Problem, estimator: Estimator, x: Tensor, noise: Tensor, samples: int) -> list[Tensor]:
    """The gradient of one draw in two passes over portions of its samples; exact for any estimator.

    A surrogate depends on the parameters through the log-weights only. So the first pass computes their values, the
    estimator's derivative with respect to each of them is taken on those values, and the second pass carries these
    cotangents back to the parameters, a portion at a time.

    Args:
        problem: what is drawn.
        estimator: the estimator.
        x: data of one group, ``[Bg, *event]``.
        noise: ``[Bg, M, K, *noise_shape]``.
        samples: importance samples at once, at most; more than 2,048 gain nothing and take memory.

    Returns:
        The ascent direction per parameter tensor of the layout.
    """
    width = max(1, min(samples, _ROWS) // x.shape[0])
    # Samples are exchangeable for the model, so M and K are one axis here.
    portions = torch.split(noise.flatten(1, 2)[:, None], width, dim=2)
    leaves = _values(problem, estimator, x, portions, noise.shape[:3])
    cotangents = _cotangents(estimator.surrogate(LogWeights(*leaves)), leaves)
    # theta and phi need different cotangents, and so separate passes, unless one surrogate serves both.
    total = [torch.zeros_like(parameter) for parameter in problem.parameters.values()]
    for network, cotangent in cotangents.items():
        chosen = [network in ("both", owner) for owner in problem.layout.networks]
        _pull_back(problem, estimator, x, zip(portions, _split(cotangent, width), strict=True), chosen, total)
    return total


def _values(
    problem: Problem, estimator: Estimator, x: Tensor, portions: Sequence[Tensor], shape: torch.Size
) -> list[Tensor]:
    """log p, log q and, where the estimator needs it, log q with detached parameters, as leaves ``[Bg, M, K]``."""
    # Filled in place: results kept between the large temporaries would keep the heap from reusing their memory.
    leaves = [x.new_empty(shape) for _ in range(2 + estimator.path)]
    flat = zip(*[torch.split(leaf.view(len(x), 1, -1), portions[0].shape[2], dim=2) for leaf in leaves], strict=True)
    with torch.no_grad(), FastLinear():
        for portion, targets in zip(portions, flat, strict=True):
            weights = problem.model(x, portion, path=estimator.path)
            found = (weights.log_p, weights.log_q, weights.log_q_path)[: len(targets)]
            for target, part in zip(targets, found, strict=True):
                if part is not None:
                    target.copy_(part)
    return [leaf.requires_grad_() for leaf in leaves]


def _cotangents(surrogate: Surrogate, leaves: list[Tensor]) -> dict[str, list[Tensor]]:
    theta, phi = surrogate.mean_over_points()
    values = {"both": theta} if surrogate.shared else {"generative": theta, "inference": phi}
    return {
        network: list(torch.autograd.grad(value, leaves, retain_graph=True, materialize_grads=True))
        for network, value in values.items()
    }


def _split(cotangent: list[Tensor], width: int) -> Iterator[tuple[Tensor, ...]]:
    flat = [torch.split(part.flatten(1, 2)[:, None], width, dim=2) for part in cotangent]
    return zip(*flat, strict=True)


def _pull_back(
    problem: Problem,
    estimator: Estimator,
    x: Tensor,
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
        found = torch.autograd.grad(values, parameters, cotangents, materialize_grads=True)
        for target, gradient in zip(targets, found, strict=True):
            target.add_(gradient)
