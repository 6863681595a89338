"""What one optimiser step costs, as measured."""

import statistics
import time

import torch
from torch import Tensor

from snrkit.backend.memory import within_memory
from snrkit.core.objective import NETWORKS, Wanted, step
from snrkit.core.streams import Streams
from snrkit.estimators.base import Estimator
from snrkit.estimators.passes import Passes, forward_of
from snrkit.models.base import LatentModel
from snrkit.models.state import unchanged

REPEATS = 7


def step_seconds(model: LatentModel, estimator: Estimator, x: Tensor, M: int, K: int) -> float:
    """Median wall seconds of a training step: noise, both passes, and Adam at a learning rate of zero.

    Args:
        model: the model; left as it is.
        estimator: whose gradient.
        x: minibatch ``[B, *event]``.
        M: outer samples.
        K: importance samples.

    Raises:
        ResourceError: a step does not fit into memory.
    """
    asked = f"{len(x)} data points of {M * K:,} samples"
    remedy = "take fewer of either"
    with unchanged(model), within_memory("step_seconds", f"a training step on {asked}", remedy), torch.enable_grad():
        return _median_seconds(model, estimator, x, M, K)


def _median_seconds(model: LatentModel, estimator: Estimator, x: Tensor, M: int, K: int) -> float:
    owners, named = model.networks(x), dict(model.named_parameters())
    wanted: Wanted = {n: [named[name] for name, owner in owners.items() if owner == n] for n in NETWORKS}
    parameters = [parameter for own in wanted.values() for parameter in own]
    optimiser = torch.optim.Adam(parameters, lr=0.0, maximize=True)
    objective, streams, times = estimator.objective, Streams(0), []
    passes, forward = Passes.needed(model, estimator, x, len(x), M, K), forward_of(model, x, objective.needs.parts)
    shape = (len(x), M, K, *model.shape_of_noise(x, objective.needs.parts))
    for number in range(REPEATS + 1):
        _wait(x)
        start = time.perf_counter()
        if passes is None:
            noise = streams.normal("cost", (number,), shape, dtype=x.dtype, device=x.device)
            found, _ = step(objective, forward, {"shared": noise}.__getitem__, wanted)
        else:
            portions = passes.noise(streams, "cost", number, len(x), x.dtype, x.device)
            found, _ = passes.step(objective, model, x, {"shared": portions}.__getitem__, wanted)
        for parameter, gradient in zip(parameters, [one for n in NETWORKS for one in found[n]], strict=True):
            parameter.grad = gradient
        optimiser.step()
        _wait(x)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
