"""A two-dimensional latent space: scatter plots, and how far from round and upright the posterior is."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from analyses.burda2016.sections.runs import Runs, scores
from snrkit.core.logweights import normalised
from snrkit.core.streams import Streams
from snrkit.models.base import LatentModel
from snrkit.report import style
from snrkit.report.collect import collect
from snrkit.report.figures import latents
from snrkit.report.save import Destination, save_drawing
from snrkit.run import Run
from snrkit.runs.folder import RunDir


def run(settings: dict[str, Any], runs: Runs, results: Path) -> tuple[str, dict[str, pd.DataFrame]]:
    """Draw the means of the first seed's runs and tabulate the posterior's shape."""
    own = settings["latents"]
    rows, first = [], []
    for K in own["K"]:
        each = [runs.get("latent2", own["data"], own["model"], "iwae", K, seed) for seed in own["seeds"]]
        first.append(each[0].path)
        shapes = pd.DataFrame([_shape(run, own["points"], own["samples"]) for run in each])
        found = pd.DataFrame([{m: value for m, (value, _) in scores(run).items()} for run in each])
        row: dict[str, Any] = {"k": K}
        values = {"-log p̂": -found.log_p, "KL(Q‖P)": found.kl_q_p} | {str(name): shapes[name] for name in shapes}
        for name, per_seed in values.items():
            row |= {name: per_seed.mean(), f"{name} se": per_seed.std(ddof=1) / math.sqrt(len(each))}
        rows.append(row)
    tables, look = collect(first), style.COLUMNS["a4"]
    with style.context(look):
        drawing = latents.draw(tables, look)
        to = Destination(results, ("python", "-m", "analyses.burda2016.run", "latents"), look)
        save_drawing("latents", drawing, tables.inputs(latents.figure.needs), to, latents.figure)
    text = (
        "### A two-dimensional latent space\n\n"
        "Scatter plots of the means of q over the test points: `latents.pdf` beside the tables. 002 sees its posterior "
        "stretch from a circle as k grows. The scatter of means cannot show that; the shape of the posterior p(z|x) itself "
        "can be measured: its covariance by importance sampling "
        f"({own['samples']} samples, {own['points']} test points), the ratio of its longer to its shorter standard "
        "deviation, with that of q from the unweighted samples for comparison; and the absolute correlation of its two "
        "coordinates, of which q has none by construction. Means over points, then over "
        f"{len(own['seeds'])} seeds ± standard error over seeds."
    )
    return text, {"": pd.DataFrame(rows)}


def _shape(run: RunDir, points: int, samples: int) -> dict[str, float]:
    """Means over points of the shape of q and of the posterior, both from the same samples."""
    opened = Run.open(run.path)
    x, _ = opened.points(points)
    each = torch.stack([_covariances(opened.model, x[i : i + 1], samples, i) for i in range(len(x))])
    found = {}
    for name, covariance in zip(("q", "posterior"), each.unbind(1), strict=True):
        axes = torch.linalg.eigvalsh(covariance).sqrt()
        found[f"axis ratio, {name}"] = float((axes[:, 1] / axes[:, 0]).mean())
    posterior = each[:, 1]
    tilt = posterior[:, 0, 1] / (posterior[:, 0, 0] * posterior[:, 1, 1]).sqrt()
    return found | {"|correlation|, posterior": float(tilt.abs().mean())}


@torch.no_grad()
def _covariances(model: LatentModel, x: Tensor, samples: int, point: int) -> Tensor:
    """Covariances of q(z|x) and, by self-normalised weights, of p(z|x) at one point, ``[2, 2, 2]``."""
    shape = (1, 1, samples, *model.noise_shape(x))
    noise = Streams(0).normal("posterior", (point,), shape, dtype=x.dtype, device=x.device)
    z = model.encode(x).sample(noise)[0, 0].double()
    log_w = model(x, noise).log_w[0, 0].double()
    weights = torch.stack([normalised(torch.zeros_like(log_w)), normalised(log_w)])
    off = z - (weights @ z)[:, None]
    return (weights[..., None] * off).transpose(1, 2) @ off
