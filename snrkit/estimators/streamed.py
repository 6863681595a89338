"""The gradient of an estimate whose importance samples do not fit in memory at once, in two passes over portions of them.

Exact for any objective: its terms depend on the parameters through the log-weights only. So the first pass computes their
values, the terms' derivatives with respect to each of them are taken on those values, and the second pass carries these
cotangents back to the parameters, a portion at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from snrkit.backend.kernels import FastLinear
from snrkit.core.backward import derivatives, hides_parameters
from snrkit.core.batches import Batch
from snrkit.core.logweights import LogWeights, Parts
from snrkit.core.objective import Gradients, Network, Served, Wanted, mean_of
from snrkit.models.base import LatentModel

# Derivatives in log densities ``[B, M, K]`` by name, and the networks that they serve.
Cotangents: TypeAlias = list[tuple[tuple[Network, ...], dict[str, Tensor]]]


def streamed_gradients(
    model: LatentModel, served: Served, parts: Parts, x: Tensor, noise: Tensor, wanted: Wanted, samples: int
) -> tuple[Gradients, Tensor]:
    """The gradients of an objective's values, from noise that is at hand.

    Args:
        model: the model, a pure function of (parameters, x, noise).
        served: what is differentiated, as ``Objective.served`` gives it.
        parts: what that takes of the model.
        x: data ``[B, *event]``.
        noise: ``[B, M, K, *noise_shape]``.
        wanted: the parameters of each network.
        samples: importance samples at once, at most, but one of each data point.

    Returns:
        By network, gradients (ascent directions), float64 (thousands of portions are added up, and small ones must not get
        lost), the mean over data points; and log w, ``[B, M, K]``.
    """
    width = max(1, samples // len(x))
    # Samples are exchangeable for the model, so M and K are one axis here.
    portions = torch.split(noise.flatten(1, 2)[:, None], width, dim=2)
    networks = {network for own in served.values() for network in own}
    total = {n: [torch.zeros_like(p, dtype=torch.float64) for p in own] for n, own in wanted.items() if n in networks}
    leaves = log_densities(model, parts, x, portions, noise.shape[:3])
    cotangents = cotangents_of(served, leaves)
    add_gradients(model, parts, x, cotangents, width, lambda: portions, wanted, total)
    return total, LogWeights.of(leaves).log_w.detach()


def log_densities(
    model: LatentModel, parts: Parts, x: Batch, portions: Iterable[Tensor], shape: Sequence[int]
) -> dict[str, Tensor]:
    """The parts of log-weights by name, as leaves ``[B, M, K]``.

    Args:
        model: the model.
        parts: which are wanted.
        x: data ``[B, *event]``.
        portions: noise ``[B, 1, w, *noise_shape]``, together M K samples of each point.
        shape: (B, M, K).
    """
    leaves: dict[str, Tensor] = {}
    start = 0
    with torch.no_grad(), FastLinear():
        for portion in portions:
            weights: LogWeights = model(x, portion, **parts.asked)
            found = weights.present()
            if not leaves:
                # Filled in place: results kept between the large temporaries would keep the heap from reusing their memory.
                leaves = {name: part.new_empty(tuple(shape)) for name, part in found.items()}
            stop = start + portion.shape[2]
            for name, part in found.items():
                leaves[name].view(shape[0], 1, -1)[:, :, start:stop].copy_(part)
            start = stop
    return {name: leaf.requires_grad_() for name, leaf in leaves.items()}


def add_gradients(
    model: LatentModel,
    parts: Parts,
    x: Batch,
    cotangents: Cotangents,
    width: int,
    portions: Callable[[], Iterable[Tensor]],
    wanted: Wanted,
    total: Wanted,
) -> None:
    """Add the gradients of both networks, the mean over data points, to their sums, in place.

    Args:
        model: the model.
        parts: as for ``log_densities``.
        x: data ``[B, *event]``.
        cotangents: as ``cotangents_of`` gives them; each is taken away when its pass is done.
        width: samples of each point in a portion.
        portions: gives the same portions of noise again, each time that it is called.
        wanted: the parameters of each network.
        total: where their gradients are added up.
    """
    while cotangents:
        networks, own = cotangents.pop(0)
        parameters, totals = ([tensor for network in networks for tensor in held[network]] for held in (wanted, total))
        if parameters:
            _pull_back(model, parts, x, zip(portions(), _split(own, width), strict=True), parameters, totals)


def cotangents_of(served: Served, leaves: dict[str, Tensor]) -> Cotangents:
    """The derivatives of an objective's values, each the mean over data points, in log densities ``[B, M, K]``."""
    weights = LogWeights.of(leaves)
    values = [(networks, mean_of(value, weights)) for value, networks in served.items()]
    found: Cotangents = []
    while values:  # what is done with is freed as it goes: there may be very many samples
        networks, value = values.pop(0)
        own = torch.autograd.grad(value, list(leaves.values()), retain_graph=bool(values), materialize_grads=True)
        found.append((networks, dict(zip(leaves, own, strict=True))))
    return found


def _split(cotangent: dict[str, Tensor], width: int) -> Iterator[dict[str, Tensor]]:
    flat = [torch.split(part.flatten(1, 2)[:, None], width, dim=2) for part in cotangent.values()]
    return (dict(zip(cotangent, portion, strict=True)) for portion in zip(*flat, strict=True))


def _pull_back(
    model: LatentModel,
    parts: Parts,
    x: Batch,
    portions: Iterator[tuple[Tensor, dict[str, Tensor]]],
    parameters: Sequence[Tensor],
    totals: Sequence[Tensor],
) -> None:
    for noise, cotangent in portions:
        with FastLinear():
            weights: LogWeights = model(x, noise, **parts.asked)
        # Where a network is frozen, a density may depend on no parameter at all.
        live = [(part, cotangent[name]) for name, part in weights.present().items() if part.requires_grad]
        if not live:
            continue
        values, cotangents = zip(*live, strict=True)
        found = derivatives(model, values, parameters, cotangents, hidden=hides_parameters(values))
        for total, gradient in zip(totals, found, strict=True):
            total.add_(gradient)
