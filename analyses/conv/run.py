"""A convolutional and a fully connected image model of as many parameters, on the same data and seeds.

    python -m analyses.conv.run                every section at cpu scale, then RESULTS.md
    python -m analyses.conv.run --settings analyses/conv/full.toml

Runs live in runs/, go on where they were stopped and are skipped when done; numbers go to results/SCALE/SECTION.csv.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from analyses.common.report import Analysis, Place
from analyses.common.runs import evaluated, opened_run, spec_of, trained_together
from snrkit.core.streams import Streams
from snrkit.evaluation.bounds import checked_scores
from snrkit.evaluation.reconstruct import reconstruct
from snrkit.runs.folder import RunDir
from snrkit.runs.orders import Order, decide, pointwise

METRICS = {"elbo": "bound", "log_p": "log p̂"}
# Which is claimed to be above which, for the verdict.
_ABOVE, _BELOW = "conv", "mlp"
Array = np.ndarray[Any, Any]


def runs_of(place: Place, K: int) -> dict[str, list[RunDir]]:
    """The trained runs of each model, a seed each."""
    own = place.settings["comparison"]
    found = {}
    for name, model in place.settings["models"].items():
        changes = {"model": model, "estimator": own["estimator"] | {"K": K}}
        found[name] = trained_together([spec_of(place.settings["run"], changes, seed) for seed in own["seeds"]], place)
    return found


def comparison(place: Place) -> tuple[str, pd.DataFrame]:
    """Bounds and log p^ of each, and their difference seed by seed."""
    own = place.settings["comparison"]
    rows = []
    for K in own["K"]:
        known = runs_of(place, K)
        points = {
            name: [evaluated(run, own["samples"], own["points"])[1] for run in runs] for name, runs in known.items()
        }
        for metric, said in METRICS.items():
            values = {name: np.stack([p[metric].to_numpy(float) for p in found]) for name, found in points.items()}
            rows.append({"trained with K": K, "metric": said} | _row(values))
    sizes = {name: _size(runs[0]) for name, runs in known.items()}
    return _text(place, sizes), pd.DataFrame(rows)


def _row(values: dict[str, Array]) -> dict[str, Any]:
    """Levels and the difference of conv and mlp, of values ``[seeds, points]``."""
    row: dict[str, Any] = {}
    for name, found in values.items():
        seeds = found.mean(1)
        row |= {name: seeds.mean(), f"{name} se": seeds.std(ddof=1) / len(seeds) ** 0.5}
    order: Order = pointwise(_ABOVE, _BELOW, values[_ABOVE], values[_BELOW])
    (decision,) = decide([order])
    gain = f"{_ABOVE} less {_BELOW}"
    return row | {gain: decision.difference, f"{gain} se": decision.error, f"{_ABOVE} above": decision.verdict}


def _size(run: RunDir) -> int:
    return sum(parameter.numel() for parameter in opened_run(run).model.parameters())


def shifted(place: Place) -> tuple[str, pd.DataFrame]:
    """log p^ of test images moved by a pixel, which neither model has seen."""
    own, rows = place.settings["shifted"], []
    for name, runs in runs_of(place, own["K"]).items():
        levels: list[list[float]] = []
        for run in runs:
            opened = opened_run(run)
            x, _ = opened.points(own["points"])
            images = x.view(-1, *_shape(opened))
            each = [images, *(_moved(images, axis, by) for axis in (1, 2) for by in (-1, 1))]
            levels.append([_log_p(opened.model, moved.flatten(1), own["samples"]) for moved in each])
        still, moved = np.array(levels)[:, 0], np.array(levels)[:, 1:].mean(1)
        count = len(runs) ** 0.5
        rows.append(
            {
                "model": name, "as they are": still.mean(), "as they are se": still.std(ddof=1) / count,
                "moved": moved.mean(), "moved se": moved.std(ddof=1) / count,
                "lost": (still - moved).mean(), "lost se": (still - moved).std(ddof=1) / count,
            }
        )  # fmt: skip
    text = (
        "## Moved by a pixel\n\n"
        f"log p̂ in nats of {own['points']} test images with {own['samples']} samples, as they are and moved by one pixel "
        f"up, down, left or right (mean of the four; zeros come in), trained with K = {own['K']}; mean over seeds ± its "
        "standard error. A moved digit is another image, and less likely under the data too: only the two losses compare."
    )
    return text, pd.DataFrame(rows)


def _shape(opened: Any) -> tuple[int, int]:
    height, width = opened.dataset.image_shape
    return height, width


def _moved(images: Tensor, axis: int, by: int) -> Tensor:
    """Images ``[n, height, width]`` moved along an axis; what comes in is zero."""
    found = images.roll(by, axis)
    found.select(axis, 0 if by > 0 else -1).zero_()
    return found


def _log_p(model: Any, x: Tensor, samples: int) -> float:
    return float(checked_scores(model, x, samples, Streams(0)).log_p.mean())


def reconstructions(place: Place) -> tuple[str, pd.DataFrame]:
    """log p(x|z) with z of the proposal, and pictures."""
    own = place.settings["reconstructions"]
    rows, pictures = [], {}
    for name, runs in runs_of(place, own["K"]).items():
        fits = []
        for number, run in enumerate(runs):
            opened = opened_run(run)
            x, _ = opened.points(own["points"])
            table = reconstruct(opened.model, x, range(len(x)), own["k"], own["samples"], Streams(0))
            fits.append(table[table.kind == "q"].groupby("point").log_likelihood.mean().to_numpy(float))
            if number == 0:
                pictures["test image"] = x[: own["shown"]].view(-1, *_shape(opened))
                pictures[name] = _mean_pictures(opened, x[: own["shown"]])
        seeds = np.stack(fits).mean(1)
        rows.append({"model": name, "log p(x|z)": seeds.mean(), "log p(x|z) se": seeds.std(ddof=1) / len(seeds) ** 0.5})
    _draw(pictures).savefig(place.results / "reconstructions.png", metadata={})
    text = (
        "## Reconstructions\n\n"
        f"log p(x|z) in nats, z of q, {own['points']} test images, {own['samples']} samples each, models trained with K = "
        f"{own['K']}; mean over seeds ± its standard error. Pictures: pixel means at the mean of q, the first seed.\n\n"
        f"![test images and their reconstructions](results/{place.scale}/reconstructions.png)"
    )
    return text, pd.DataFrame(rows)


def _mean_pictures(opened: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = opened.model.pixel_means(opened.model.encode(x).loc)
    return found.view(-1, *_shape(opened))


def _draw(pictures: dict[str, Tensor]) -> Figure:
    count = len(next(iter(pictures.values())))
    figure = Figure(figsize=(0.6 * count + 0.4, 0.65 * len(pictures)), dpi=110, layout="constrained")
    for row, (name, images) in zip(figure.subplots(len(pictures), count), pictures.items(), strict=True):
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
        row[0].set_ylabel(name, fontsize=7)
    return figure


def _text(place: Place, sizes: dict[str, int]) -> str:
    own, run = place.settings["comparison"], place.settings["run"]
    options = {name: model["options"].items() for name, model in place.settings["models"].items()}
    models = "; ".join(
        f"{name} ({', '.join(f'{option} {value}' for option, value in own_options)}), {sizes[name]:,} parameters"
        for name, own_options in options.items()
    )
    return (
        "## Comparison\n\n"
        f"{run['data']['name']}, {run['epochs']} epochs, batch {run['batch_size']}, Adam at {run['optimiser']['lr']:g}, "
        f"trained with {own['estimator']['name']}: {models}. Nats on {own['points']} test points, {own['samples']} samples "
        f"for log p̂; mean over {len(own['seeds'])} seeds ± its standard error. Differences of runs of the same seed; their "
        'standard error is from the spread between seeds and from the points; "holds" ("does not hold"): above (below) 0 at '
        "the 95 % level of Student's t."
    )


ANALYSIS = Analysis(
    Path(__file__).parent, {"comparison": comparison, "shifted": shifted, "reconstructions": reconstructions}
)

if __name__ == "__main__":
    ANALYSIS.main()
