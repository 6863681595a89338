"""Means of the latent variables per data point, and how many of their dimensions are active."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from snrkit.core.streams import Streams
from snrkit.evaluation.passes import Pass, one_pass
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
def latent_means(model: LatentModel, x: Tensor, streams: Streams, at_once: Pass | None = None) -> list[LayerMeans]:
    """E_q[z_l|x] of every stochastic layer l, by Monte Carlo where it depends on samples (of the layers below, say).

    Args:
        model: the model, in evaluation mode.
        x: points ``[N, *event]``.
        streams: source of the noise; each point has its own stream.
        at_once: what one pass computes; None: what suits the device.

    Raises:
        CapabilityError: the latents have no mean.
    """
    at_once, shape = at_once or one_pass(model, x), model.noise_shape(x)
    layers = _layer_means(model.proposal(x[:1]), x.new_zeros(1, 1, 2, *shape))
    counts = [MEAN_SAMPLES if means.shape[2] > 1 else 1 for means in layers]
    samples = max(counts)

    def noise(point: int) -> Tensor:
        size = (1, samples, *shape)
        return streams.normal("active", (point,), size, dtype=x.dtype, device=x.device)

    # Reduced pass by pass, where it lies if the passes are large: what is averaged would be gigabytes for a test set.
    passes, reduced = [], _mean_and_variance if at_once.many else _by_numpy
    for points in at_once.parts(len(x), samples):
        # Where no layer's mean depends on the noise none is drawn.
        drawn = torch.stack([noise(n) for n in points]) if samples > 1 else x.new_zeros(len(points), 1, 1, *shape)
        found = _layer_means(model.proposal(x[points.start : points.stop]), drawn)
        passes.append([reduced(means[:, 0].double()) for means in found])
    layered = [zip(*each, strict=True) for each in zip(*passes, strict=True)]
    pairs = [(_on_host(means), _on_host(variances)) for means, variances in layered]
    return [LayerMeans(*pair, count) for pair, count in zip(pairs, counts, strict=True)]


def _layer_means(proposal: Any, noise: Tensor) -> tuple[Tensor, ...]:
    """A proposal's own; of one that a user wrote without them the samples, whose means they are."""
    own = getattr(proposal, "layer_means", None)
    found: tuple[Tensor, ...] = (proposal.sample(noise).flatten(3),) if own is None else own(noise)
    return found


def _on_host(parts: Sequence[Tensor]) -> Array:
    found: Array = torch.cat(tuple(parts)).cpu().numpy()
    return found


def _mean_and_variance(conditional: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of conditional means ``[n, samples, D_l]`` and its variance, each ``[n, D_l]``."""
    samples = conditional.shape[1]
    mean = conditional.mean(dim=1)
    return mean, torch.zeros_like(mean) if samples == 1 else conditional.var(dim=1) / samples


def _by_numpy(conditional: Tensor) -> tuple[Tensor, Tensor]:
    """The same to the last digit but two, as it was from the first: results keep all of theirs."""
    samples, own = conditional.shape[1], conditional[0].cpu().numpy()
    mean = own.mean(axis=0)
    variance = np.zeros_like(mean) if samples == 1 else own.var(axis=0, ddof=1) / samples
    return torch.from_numpy(mean[None]), torch.from_numpy(variance[None])


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
    # How often each point was picked, of which everything else follows by products.
    times = np.stack([np.bincount(pick, minlength=points) for pick in picks]).astype(np.float64)
    stderr = np.std(_counts(layer, times), ddof=1)
    definition = f"latent dimensions of {dimensions} with Var_x(E_q[z_d]) > {ACTIVE_THRESHOLD} over {points} points"
    if layer.samples > 1:
        definition += f"; E_q from {layer.samples} samples each, their noise subtracted"
    (value,) = _counts(layer, np.ones((1, points)))
    return Score(metric, float(value), float(stderr), definition, layer=number, dimensions=dimensions)


def _counts(layer: LayerMeans, times: Array) -> npt.NDArray[np.int64]:
    """Active dimensions of samples of the points, each given so many times ``[S, N]``: ``[S]``."""
    points = layer.means.shape[0]
    # About the mean of all, so that no digits are lost in the squares.
    centred = layer.means - layer.means.mean(axis=0)
    squares, mean = times @ centred**2, times @ centred / points
    variance = (squares - points * mean**2) / (points - 1) - times @ layer.variances / points
    counts: npt.NDArray[np.int64] = (variance > ACTIVE_THRESHOLD).sum(axis=1)
    return counts
