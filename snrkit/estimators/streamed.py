"""The gradient of an estimate whose importance samples do not fit in memory at once."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from snrkit.estimators.base import Estimator, Surrogate
from snrkit.kernels import FastLinear
from snrkit.logweights import LogWeights
from snrkit.models.base import LatentModel


def streamed_gradients(
    model: LatentModel,
    estimator: Estimator,
    x: Tensor,
    noise: Tensor,
    generative: Sequence[Tensor],
    inference: Sequence[Tensor],
    samples: int,
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The estimate for both networks in two passes over portions of its samples; exact for any estimator.

    A surrogate depends on the parameters through the log-weights only. So the first pass computes their values, the
    estimator's derivative with respect to each of them is taken on those values, and the second pass carries these
    cotangents back to the parameters, a portion at a time.

    Args:
        model: the model, a pure function of (parameters, x, noise).
        estimator: the estimator.
        x: data ``[B, *event]``.
        noise: ``[B, M, K, *noise_shape]``.
        generative: parameters of the generative network.
        inference: parameters of the inference network.
        samples: importance samples at once, at most, but one of each data point.

    Returns:
        Gradients (ascent directions) of the generative and of the inference parameters, float64, the mean over data points;
        and log w, ``[B, M, K]``.
    """
    width = max(1, samples // len(x))
    # Samples are exchangeable for the model, so M and K are one axis here.
    portions = torch.split(noise.flatten(1, 2)[:, None], width, dim=2)
    leaves = _values(model, estimator, x, portions, noise.shape[:3])
    cotangents = _cotangents(estimator.surrogate(LogWeights(*leaves)), leaves)
    own = {"generative": list(generative), "inference": list(inference), "both": [*generative, *inference]}
    sums: list[Tensor] = []
    # theta and phi need different cotangents, and so separate passes, unless one surrogate serves both.
    for network, cotangent in cotangents.items():
        sums += _pull_back(model, estimator, x, zip(portions, _split(cotangent, width), strict=True), own[network])
    return sums[: len(generative)], sums[len(generative) :], (leaves[0] - leaves[1]).detach()


def _values(
    model: LatentModel, estimator: Estimator, x: Tensor, portions: Sequence[Tensor], shape: torch.Size
) -> list[Tensor]:
    """log p, log q and, where the estimator needs it, log q with detached parameters, as leaves ``[B, M, K]``."""
    # Filled in place: results kept between the large temporaries would keep the heap from reusing their memory.
    leaves = [portions[0].new_empty(shape) for _ in range(2 + estimator.path)]
    flat = zip(*[torch.split(leaf.view(len(x), 1, -1), portions[0].shape[2], dim=2) for leaf in leaves], strict=True)
    with torch.no_grad(), FastLinear():
        for portion, targets in zip(portions, flat, strict=True):
            weights = model(x, portion, path=estimator.path)
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
    model: LatentModel,
    estimator: Estimator,
    x: Tensor,
    portions: Iterator[tuple[Tensor, tuple[Tensor, ...]]],
    parameters: list[Tensor],
) -> list[Tensor]:
    """The gradients of the parameters, float64: thousands of portions are added up, and small ones must not get lost."""
    total = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
    for noise, cotangent in portions if parameters else ():
        with FastLinear():
            weights = model(x, noise, path=estimator.path)
        parts = [weights.log_p, weights.log_q, weights.log_q_path][: len(cotangent)]
        # Where a network is frozen, a density may depend on no parameter at all.
        live = [(part, own) for part, own in zip(parts, cotangent, strict=True) if part.requires_grad]
        if not live:
            continue
        values, cotangents = zip(*live, strict=True)
        found = torch.autograd.grad(values, parameters, cotangents, materialize_grads=True)
        for target, gradient in zip(total, found, strict=True):
            target.add_(gradient)
    return total
