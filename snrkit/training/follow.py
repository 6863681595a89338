"""The bound that a run follows on test points while it trains."""

import torch
from torch import Tensor

from snrkit.core import bounds
from snrkit.core.streams import Streams
from snrkit.models.base import LatentModel

FOLLOWED_SAMPLES = 64
# Points at once, which key their noise.
_POINTS = 50


@torch.no_grad()
def followed_bound(model: LatentModel, x: Tensor, streams: Streams) -> float:
    """The 64-sample bound on test points ``[N, *event]``, nats per point, with the same noise after every epoch."""
    totals, shape = [], model.noise_shape(x)
    for part, points in enumerate(torch.split(x, _POINTS)):
        size = (len(points), 1, FOLLOWED_SAMPLES, *shape)
        noise = streams.normal("follow", (part,), size, dtype=x.dtype, device=x.device)
        totals.append(bounds.iwae(model(points, noise).log_w).sum())
    # Read back at once: a device need not be waited for after every part.
    return float(sum(torch.stack(totals).tolist()) / len(x))
