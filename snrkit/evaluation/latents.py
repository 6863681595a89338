"""Means of the latent variables per data point, and how many of their dimensions are active."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from snrkit.core.streams import Streams
from snrkit.evaluation.score import Score
from snrkit.models.base import LatentModel
from snrkit.types import Array

ACTIVE_THRESHOLD = 0.01
# Samples behind E_q[z_l|x], where it has no closed form.
MEAN_SAMPLES = 1000
_BOOTSTRAP = 200


@dataclass(frozen=True)
class LayerMeans:
    """E_q[z_l|x] of one stochastic layer at N data points.

    Attributes:
        means: ``[N, D_l]``.
        variances: squared standard errors of the means, ``[N, D_l]``; zero where they are exact.
        samples: samples averaged over; 1 where the means are exact.
    """

    means: Array
    variances: Array
    samples: int


@torch.no_grad()
def latent_means(model: LatentModel, x: Tensor, streams: Streams) -> list[LayerMeans]:
    """E_q[z_l|x] of every stochastic layer l, by Monte Carlo where it depends on samples (of the layers below, say).

    Args:
        model: the model, in evaluation mode.
        x: points ``[N, *event]``.
        streams: source of the noise; each point has its own stream.
    """
    shape = model.noise_shape(x)
    layers = model.proposal(x[:1]).layer_means(x.new_zeros(1, 1, 2, *shape))
    counts = [MEAN_SAMPLES if means.shape[2] > 1 else 1 for means in layers]
    size = (1, 1, max(counts), *shape)
    # Reduced point by point: what is averaged would be gigabytes for the points of a test set.
    points = []
    for point in range(len(x)):
        noise = streams.normal("active", (point,), size, dtype=x.dtype, device=x.device)
        found = model.proposal(x[point : point + 1]).layer_means(noise)
        points.append([_mean_and_variance(means[0, 0].double().cpu().numpy()) for means in found])
    layered = [zip(*each, strict=True) for each in zip(*points, strict=True)]
    pairs = [(np.stack(means), np.stack(variances)) for means, variances in layered]
    return [LayerMeans(*pair, count) for pair, count in zip(pairs, counts, strict=True)]


def _mean_and_variance(conditional: Array) -> tuple[Array, Array]:
    """The mean of conditional means ``[samples, D_l]`` and its variance, each ``[D_l]``."""
    mean, samples = conditional.mean(axis=0), len(conditional)
    return mean, np.zeros_like(mean) if samples == 1 else conditional.var(axis=0, ddof=1) / samples


def means_table(layers: list[LayerMeans], labels: npt.NDArray[np.integer[Any]] | None) -> pd.DataFrame:
    """One row per stochastic layer and point.

    Args:
        layers: as ``latent_means`` gives them.
        labels: class of each point, for at least as many points; None where there are none.

    Returns:
        ``layer`` (from 1, at the data), ``point``, ``label`` (missing without labels) and the mean in ``z1``, ``z2``, ...;
        a narrower layer has NaN in the columns that it lacks.
    """
    tables = [
        pd.DataFrame(layer.means, columns=[f"z{d}" for d in range(1, layer.means.shape[1] + 1)]).assign(
            layer=number, point=range(len(layer.means))
        )
        for number, layer in enumerate(layers, start=1)
    ]
    table = pd.concat(tables, ignore_index=True)
    return table.assign(label=pd.Series(labels, dtype="Int64").reindex(table.point).array)


def active_units(layers: list[LayerMeans]) -> list[Score]:
    """How many dimensions of each layer carry information: Var_x(E_q[z_d|x]) > 0.01 (Burda et al. 2016, section 5.2).

    The variance over points of means that were estimated holds their noise too; its expectation is subtracted.

    Returns:
        ``active_units``, or ``active_units_1``, ``active_units_2``, ... from the data upwards where there are several
        layers; each with a bootstrap standard error over data points.
    """
    if len(layers) == 1:
        return [_score(layers[0], "active_units", 0)]
    return [_score(layer, f"active_units_{number}", number) for number, layer in enumerate(layers, start=1)]


def _score(layer: LayerMeans, metric: str, number: int) -> Score:
    points, dimensions = layer.means.shape
    generator = np.random.Generator(np.random.PCG64DXSM(0))
    picks = generator.integers(0, points, size=(_BOOTSTRAP, points))
    stderr = np.std([_count(layer, pick) for pick in picks], ddof=1)
    definition = f"latent dimensions of {dimensions} with Var_x(E_q[z_d]) > {ACTIVE_THRESHOLD} over {points} points"
    if layer.samples > 1:
        definition += f"; E_q from {layer.samples} samples each, their noise subtracted"
    value = float(_count(layer, np.arange(points)))
    return Score(metric, value, float(stderr), definition, layer=number, dimensions=dimensions)


def _count(layer: LayerMeans, pick: npt.NDArray[np.int64]) -> int:
    variance = layer.means[pick].var(axis=0, ddof=1) - layer.variances[pick].mean(axis=0)
    return int((variance > ACTIVE_THRESHOLD).sum())
