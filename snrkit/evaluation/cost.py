"""What one optimiser step costs, as measured."""

import statistics
import time

import torch
from torch import Tensor

from snrkit.backend.memory import within_memory
from snrkit.core.streams import Streams
from snrkit.estimators.base import Estimator, gradients
from snrkit.estimators.passes import Passes
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
    networks = model.networks(x)
    named = dict(model.named_parameters())
    inference, generative = ([named[n] for n, w in networks.items() if w == k] for k in ("inference", "generative"))
    optimiser = torch.optim.Adam([*generative, *inference], lr=0.0, maximize=True)
    shape, streams, times = (len(x), M, K, *model.noise_shape(x)), Streams(0), []
    passes = Passes.needed(model, estimator, x, len(x), M, K)
    for step in range(REPEATS + 1):
        _wait(x)
        start = time.perf_counter()
        if passes is None:
            noise = streams.normal("cost", (step,), shape, dtype=x.dtype, device=x.device)
            theta, phi = gradients(estimator, model(x, noise, path=estimator.path), list(generative), list(inference))
        else:
            portions = passes.noise(streams, "cost", step, len(x), x.dtype, x.device)
            theta, phi, _ = passes.gradients(model, estimator, x, portions, generative, inference)
        for parameter, gradient in zip([*generative, *inference], [*theta, *phi], strict=True):
            parameter.grad = gradient
        optimiser.step()
        _wait(x)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
