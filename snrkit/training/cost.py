"""What one optimiser step costs, as measured."""

import copy
import statistics
import time

import torch
from torch import Tensor

from snrkit.estimators.base import Estimator, gradients
from snrkit.models.base import LatentModel
from snrkit.streams import Streams

REPEATS = 7


def step_seconds(model: LatentModel, estimator: Estimator, x: Tensor, M: int, K: int) -> float:
    """Median wall seconds of a training step (noise, both passes, Adam) on a copy of the model.

    Args:
        model: the model; left as it is.
        estimator: whose gradient.
        x: minibatch ``[B, *event]``.
        M: outer samples.
        K: importance samples.
    """
    model = copy.deepcopy(model)
    networks = model.networks(x)
    named = dict(model.named_parameters())
    inference, generative = ([named[n] for n, w in networks.items() if w == k] for k in ("inference", "generative"))
    optimiser = torch.optim.Adam([*generative, *inference], lr=0.0, maximize=True)
    shape, streams, times = (len(x), M, K, *model.noise_shape(x)), Streams(0), []
    for step in range(REPEATS + 1):
        _wait(x)
        start = time.perf_counter()
        noise = streams.normal("cost", (step,), shape, dtype=x.dtype, device=x.device)
        found = gradients(estimator, model(x, noise, path=estimator.path), list(generative), list(inference))
        for parameter, gradient in zip([*generative, *inference], [*found[0], *found[1]], strict=True):
            parameter.grad = gradient
        optimiser.step()
        _wait(x)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _wait(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
