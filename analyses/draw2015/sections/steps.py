"""What each step adds: its KL divergence over the test set, and canvases."""

from typing import Any

import pandas as pd
import torch

from analyses.common.report import Place
from analyses.common.runs import opened_run
from analyses.draw2015.sections import run_of, runs
from snrkit.core.streams import Streams
from snrkit.models.attentive import Attentive
from snrkit.run import Run


def run(place: Place) -> tuple[str, dict[str, pd.DataFrame]]:
    """A row per model and step; canvases of the first seed go to the results, whence the report draws them."""
    rows: list[dict[str, Any]] = []
    for name, seed, own in runs(place):
        opened = opened_run(own)
        for step, value in enumerate(_kl_by_step(opened), 1):
            rows.append({"model": name, "seed": seed, "step": step, "KL": value})
    table = pd.DataFrame(rows)
    grouped = table.groupby(["model", "step"], sort=False)["KL"]
    found = pd.DataFrame({"KL": grouped.mean(), "KL se": grouped.sem()}).reset_index()
    first = place.settings["seeds"][0]
    for name in place.settings["models"]:
        opened = opened_run(run_of(place, name, first))
        opened.canvases(range(place.settings["canvases"]["points"]), out=place.results / f"canvases-{name}").save()
    pictures = "\n".join(f"![{name}](results/{place.scale}/canvases-{name}.png)\n" for name in place.settings["models"])
    text = (
        "## What each step adds\n\n"
        "KL(q(z_t|z_1, ..., z_{t-1}, x), N(0, I)) in nats, each in closed form given one sample of what came before it, "
        "mean over the test images; then mean over seeds with its standard error. Their sum is the KL part of the bound. "
        f"Canvases of seed {first}, {', '.join(place.settings['models'])}; dashed blue: where it read, orange: where it "
        f"wrote.\n\n{pictures}"
    )
    return text, {"": found}


@torch.no_grad()
def _kl_by_step(run: Run) -> list[float]:
    """Mean over all test points of the divergence of each step."""
    model = run.model
    assert isinstance(model, Attentive)
    x, _ = run.points(None)
    noise = Streams(0).normal("kl", (), (len(x), 1, 1, model.latent), dtype=x.dtype, device=x.device)
    kl = model.encode(x).unroll(noise, drawn=True).kl[:, 0, 0]
    each: list[float] = kl.view(len(x), model.options.steps, -1).sum(dim=-1).double().mean(dim=0).tolist()
    return each
