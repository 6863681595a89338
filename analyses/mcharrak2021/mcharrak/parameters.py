"""Parameter counts of both models."""

import pandas as pd
import torch

from analyses.common.report import Place
from snrkit.models.base import build_model
from snrkit.models.summary import DataSummary
from snrkit.specs.run import ModelSpec

PUBLISHED = {"reference": (217_300, 207_984, 425_284), "larger": (490_440, 483_184, 973_624)}
OPTIONS = {"reference": {"hidden": [200, 200], "latent": 50}, "larger": {"hidden": [400, 400], "latent": 20}}


def run(place: Place) -> tuple[str, pd.DataFrame]:  # noqa: ARG001 (sizes are the papers')
    """Encoder, decoder and both, counted on the models as built."""
    rows = []
    for name, options in OPTIONS.items():
        model = build_model(ModelSpec(options=options), DataSummary(torch.full((784,), 0.5), real=False), 0)  # type: ignore[arg-type]
        count = {part: sum(p.numel() for p in getattr(model, part).parameters()) for part in ("encoder", "decoder")}
        count["both"] = sum(p.numel() for p in model.parameters())
        for (part, ours), published in zip(count.items(), PUBLISHED[name], strict=True):
            rows.append([name, part, published, ours, "equal" if ours == published else "differs"])
    text = "## Parameters\n\n784 pixels; reference: hidden 200, 200, latent 50; larger: hidden 400, 400, latent 20."
    return text, pd.DataFrame(rows, columns=["model", "part", "published", "ours", ""])
