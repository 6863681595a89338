"""How images come about in a model that writes them in steps: the canvas after each, and where it read and wrote."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from snrkit.backend.memory import require_memory, within_memory
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, NonFiniteError
from snrkit.models.attentive import Attentive
from snrkit.models.base import LatentModel
from snrkit.models.state import in_mode
from snrkit.models.windows import Place

WINDOWS = tuple(f"{kind}_{what}" for kind in ("read", "write") for what in ("left", "top", "stride"))


@torch.no_grad()
def canvases(model: LatentModel, x: Tensor | None, numbers: Sequence[int], streams: Streams) -> pd.DataFrame:
    """Images step by step: reconstructions of data points, a sample of q(z|x) each, or samples of the prior.

    Args:
        model: a model that writes in steps.
        x: data ``[n, P]``; None: samples of the prior.
        numbers: of the points or samples, which key their noise; those of the prior are ``evaluation.samples.sample``'s.
        streams: source of the noise.

    Returns:
        One row per image: ``number``; ``t``, from 1 on, 0 of a data point; ``kind`` (``input`` or ``canvas``); ``pixels``,
        the input's or the Bernoulli means; ``kl``, that of step t from the prior given the steps before it, in nats, NaN of
        the prior's; ``read`` and ``write``, N of the N x N windows, 0 without attention; and their places (``WINDOWS``).

    Raises:
        CapabilityError: the model does not write in steps.
        ResourceError: they do not fit into memory.
        NonFiniteError: what is written is NaN or infinite.
    """
    if not isinstance(model, Attentive):
        problem = f"{type(model).__name__} does not write in steps"
        raise CapabilityError("model", problem, "choose model draw, or look at reconstructions")
    steps, parameter = model.options.steps, next(model.parameters())
    size = 2 * len(numbers) * steps * parameter.element_size() * (model.pixels + 8 * model.options.hidden)
    require_memory("points", f"{len(numbers):,} images in {steps} steps", size, "ask for fewer")
    with in_mode(model, "evaluation"), within_memory("points", f"{len(numbers):,} images", "ask for fewer"):
        purpose = "prior" if x is None else "canvases"
        each = [
            streams.normal(purpose, (n,), (model.latent,), dtype=parameter.dtype, device=parameter.device)
            for n in numbers
        ]
        noise, kl = torch.stack(each), None
        z = model.from_prior(noise)
        if x is not None:
            unrolled = model.encode(x).unroll(noise[:, None, None], drawn=True)
            z, kl = unrolled.z[:, 0, 0], unrolled.kl[:, 0, 0].view(len(x), steps, -1).sum(dim=-1)
        found = model.writing(z)
    if not bool(found.pixels.isfinite().all()):
        raise NonFiniteError("model", "writes NaN or infinite numbers", "check the model's parameters")
    columns: dict[str, Any] = {
        "number": np.repeat(numbers, steps), "t": np.tile(np.arange(1, steps + 1), len(numbers)), "kind": "canvas",
        "pixels": list(found.pixels.flatten(0, 1).cpu().numpy()),
        "kl": np.nan if kl is None else kl.flatten().cpu().numpy(),
        **_places("read", found.read), **_places("write", found.write),
    }  # fmt: skip
    table = pd.DataFrame(columns)
    if x is not None:
        inputs = pd.DataFrame({"number": list(numbers), "t": 0, "kind": "input", "pixels": list(x.cpu().numpy())})
        table = pd.concat([inputs, table], ignore_index=True).sort_values(["number", "t"], ignore_index=True)
    return table.assign(read=model.options.read, write=model.options.write)


def _places(kind: str, place: Place | None) -> dict[str, Any]:
    return {
        f"{kind}_{what}": np.nan if place is None else getattr(place, what).flatten().cpu().numpy()
        for what in ("left", "top", "stride")
    }
