"""The toy as this analysis uses it."""

from typing import Any

import torch
from torch import Tensor

from snrkit.data import load
from snrkit.models.base import build_model
from snrkit.models.gaussian import Gaussian
from snrkit.models.summary import DataSummary
from snrkit.specs.run import DataSpec, ModelSpec


def toy(settings: dict[str, Any], perturb: float, seed: int) -> tuple[Gaussian, Tensor]:
    """One random instance, float32: the model near its optimum, and its data ``[points, dim]``."""
    spec = DataSpec(name="gaussian", size=settings["points"], dim=settings["dim"], seed=seed)
    x = torch.from_numpy(load(spec, None).train)
    model = build_model(
        ModelSpec(name="gaussian", options={"perturb": perturb}), DataSummary(x.mean(0), real=True), seed
    )
    assert isinstance(model, Gaussian)
    return model.float(), x.float()
