"""Climbing an objective on a small network."""

from collections.abc import Iterator
from typing import Any

import torch

from analyses.discrete2020.listed import CPU, Listed
from snrkit.core.objective import NETWORKS, Network, step
from snrkit.core.streams import Streams
from snrkit.estimators.base import Estimator


def climb(
    model: Listed, data: torch.Tensor, estimator: Estimator, settings: dict[str, Any], *, seed: int, K: int
) -> Iterator[int]:
    """Adam on minibatches drawn with replacement; gives the number of steps done, before the first and after each.

    Args:
        model: what is trained.
        data: ``[N, P]``.
        estimator: the estimator.
        settings: ``steps``, ``lr``, ``batch``.
        seed: root of minibatches and noise: the same for every estimator.
        K: importance samples.
    """
    streams, objective = Streams(seed), estimator.objective
    named, owners = dict(model.named_parameters()), model.networks(data)
    wanted: dict[Network, list[torch.Tensor]] = {
        network: [named[name] for name, own in owners.items() if own == network] for network in NETWORKS
    }
    adam = torch.optim.Adam(model.parameters(), lr=settings["lr"], maximize=True)
    size = model.latent + (model.dream_size if estimator.needs.sleep else 0)
    for done in range(settings["steps"]):
        yield done
        chosen = streams.numpy("minibatches", done).integers(len(data), size=settings["batch"])
        x = data[torch.from_numpy(chosen)]
        noise = streams.normal("noise", (done,), (len(x), 1, K, size), dtype=torch.float64, device=CPU)
        gradients, _ = step(
            objective,
            lambda own, x=x: model(x, own, parts=objective.needs.parts),  # type: ignore[misc]
            lambda _, noise=noise: noise,  # type: ignore[misc]
            wanted,
        )
        for network, own in gradients.items():
            for parameter, gradient in zip(wanted[network], own, strict=True):
                parameter.grad = gradient
        adam.step()
    yield settings["steps"]
