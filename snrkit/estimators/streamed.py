"""The gradient of an estimate whose importance samples do not fit in memory at once, in two passes over portions of them.

Exact for any estimator: a surrogate depends on the parameters through the log-weights only. So the first pass computes their
values, the estimator's derivative with respect to each of them is taken on those values, and the second pass carries these
cotangents back to the parameters, a portion at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from snrkit.backend.kernels import FastLinear
from snrkit.core.backward import derivatives, hides_parameters
from snrkit.core.batches import Batch
from snrkit.core.logweights import LogWeights
from snrkit.estimators.base import Estimator
from snrkit.models.base import LatentModel

# Parameters of one network, and where their gradients are added up.
Sums = tuple[Sequence[Tensor], Sequence[Tensor]]


def streamed_gradients(
    model: LatentModel,
    estimator: Estimator,
    x: Tensor,
    noise: Tensor,
    generative: Sequence[Tensor],
    inference: Sequence[Tensor],
    samples: int,
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """The estimate for both networks, from noise that is at hand.

    Args:
        model: the model, a pure function of (parameters, x, noise).
        estimator: the estimator.
        x: data ``[B, *event]``.
        noise: ``[B, M, K, *noise_shape]``.
        generative: parameters of the generative network.
        inference: parameters of the inference network.
        samples: importance samples at once, at most, but one of each data point.

    Returns:
        Gradients (ascent directions) of the generative and of the inference parameters, float64 (thousands of portions are
        added up, and small ones must not get lost), the mean over data points; and log w, ``[B, M, K]``.
    """
    width = max(1, samples // len(x))
    # Samples are exchangeable for the model, so M and K are one axis here.
    portions = torch.split(noise.flatten(1, 2)[:, None], width, dim=2)
    theta, phi = ([torch.zeros_like(p, dtype=torch.float64) for p in own] for own in (generative, inference))
    leaves = log_densities(model, estimator, x, portions, noise.shape[:3])
    cotangents = cotangents_of(estimator, leaves)
    add_gradients(model, estimator, x, cotangents, width, lambda: portions, (generative, theta), (inference, phi))
    return theta, phi, (leaves[0] - leaves[1]).detach()


def log_densities(
    model: LatentModel, estimator: Estimator, x: Batch, portions: Iterable[Tensor], shape: Sequence[int]
) -> list[Tensor]:
    """log p, log q and, where the estimator needs it, log q with detached parameters, as leaves ``[B, M, K]``.

    Args:
        model: the model.
        estimator: the estimator.
        x: data ``[B, *event]``.
        portions: noise ``[B, 1, w, *noise_shape]``, together M K samples of each point.
        shape: (B, M, K).
    """
    leaves: list[Tensor] = []
    start = 0
    with torch.no_grad(), FastLinear():
        for portion in portions:
            weights = model(x, portion, path=estimator.path)
            found = [weights.log_p, weights.log_q, *([weights.log_q_path] if estimator.path else [])]
            if not leaves:
                # Filled in place: results kept between the large temporaries would keep the heap from reusing their memory.
                leaves = [part.new_empty(tuple(shape)) for part in found if part is not None]
            stop = start + portion.shape[2]
            for leaf, part in zip(leaves, found, strict=True):
                if part is not None:
                    leaf.view(shape[0], 1, -1)[:, :, start:stop].copy_(part)
            start = stop
    return [leaf.requires_grad_() for leaf in leaves]


def add_gradients(
    model: LatentModel,
    estimator: Estimator,
    x: Batch,
    cotangents: dict[str, list[Tensor]],
    width: int,
    portions: Callable[[], Iterable[Tensor]],
    generative: Sums,
    inference: Sums,
) -> None:
    """Add the gradients of both networks, the mean over data points, to their sums, in place.

    Args:
        model: the model.
        estimator: the estimator.
        x: data ``[B, *event]``.
        cotangents: as ``cotangents_of`` gives them; each is taken away when its pass is done.
        width: samples of each point in a portion.
        portions: gives the same portions of noise again, each time that it is called.
        generative: parameters of the generative network, and their sums.
        inference: the same of the inference network.
    """
    sums = {"generative": generative, "inference": inference, "both": _together(generative, inference)}
    # theta and phi need different cotangents, and so separate passes, unless one surrogate serves both.
    for network in list(cotangents):
        parameters, totals = sums[network]
        pairs = zip(portions(), _split(cotangents.pop(network), width), strict=True)
        if parameters:
            _pull_back(model, estimator, x, pairs, parameters, totals)


def cotangents_of(estimator: Estimator, leaves: list[Tensor]) -> dict[str, list[Tensor]]:
    """The estimator's derivatives in log densities ``[B, M, K]``, by network; ``both`` where one surrogate serves."""
    surrogate = estimator.surrogate(LogWeights(*leaves))
    theta, phi = surrogate.mean_over_points()
    values = {"both": theta} if surrogate.shared else {"generative": theta, "inference": phi}
    last = list(values)[-1]  # what its pass is done with is freed as it goes: there may be very many samples
    return {
        network: list(torch.autograd.grad(value, leaves, retain_graph=network != last, materialize_grads=True))
        for network, value in values.items()
    }


def _together(one: Sums, other: Sums) -> Sums:
    return [*one[0], *other[0]], [*one[1], *other[1]]


def _split(cotangent: list[Tensor], width: int) -> Iterator[tuple[Tensor, ...]]:
    flat = [torch.split(part.flatten(1, 2)[:, None], width, dim=2) for part in cotangent]
    return zip(*flat, strict=True)


def _pull_back(
    model: LatentModel,
    estimator: Estimator,
    x: Batch,
    portions: Iterator[tuple[Tensor, tuple[Tensor, ...]]],
    parameters: Sequence[Tensor],
    totals: Sequence[Tensor],
) -> None:
    for noise, cotangent in portions:
        with FastLinear():
            weights = model(x, noise, path=estimator.path)
        parts = [weights.log_p, weights.log_q, weights.log_q_path][: len(cotangent)]
        # Where a network is frozen, a density may depend on no parameter at all.
        live = [(part, own) for part, own in zip(parts, cotangent, strict=True) if part.requires_grad]
        if not live:
            continue
        values, cotangents = zip(*live, strict=True)
        found = derivatives(model, values, parameters, cotangents, hidden=hides_parameters(values))
        for total, gradient in zip(totals, found, strict=True):
            total.add_(gradient)
