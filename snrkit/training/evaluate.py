"""Bounds, ESS and active units of a trained model, streamed over samples in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from snrkit.errors import NonFiniteError, SpecError
from snrkit.kernels import FastLinear
from snrkit.logweights import effective_sample_size, log_mean_exp
from snrkit.models.base import LatentModel, check_log_weights
from snrkit.streams import Streams
from snrkit.training.active import LayerMeans, active_units, latent_means
from snrkit.training.score import Score

Array = npt.NDArray[np.float64]
Progress = Callable[[float, float, str], None]
Scoring = Callable[[LatentModel, Tensor, int, Streams, Progress | None], "PointScores"]

IWAE_SAMPLES = 64
_ROWS = 2048


@dataclass(frozen=True)
class PointScores:
    """Per data point, each ``[N]``: bounds in nats, ESS in samples; and the latent means of every layer."""

    elbo: Array
    iwae_64: Array
    log_p: Array
    ess_64: Array
    ess: Array
    layers: list[LayerMeans]

    @property
    def kl_q_p(self) -> Array:
        """log_p - iwae_64, nats, ``[N]``."""
        return self.log_p - self.iwae_64


def evaluate(
    model: LatentModel, x: Tensor, samples: int, streams: Streams, progress: Progress | None = None
) -> list[Score]:
    """Bounds and diagnostics of a model on given points.

    Args:
        model: the model.
        x: points ``[N, *event]``, N at least 2, on the model's device.
        samples: importance samples per point, at least 128.
        streams: source of the noise; each point has its own stream.
        progress: called with (done, total, note).

    Raises:
        SpecError: fewer than 128 samples or 2 points, or a model that does not accept the points.
        NonFiniteError: a bound is NaN or infinite.
    """
    return summarise(checked_scores(model, x, samples, streams, progress), samples)


def checked_scores(
    model: LatentModel,
    x: Tensor,
    samples: int,
    streams: Streams,
    progress: Progress | None = None,
    score: Scoring | None = None,
) -> PointScores:
    """Scores of each point, once everything that could be wrong with them is seen not to be.

    Args:
        model: the model.
        x: points.
        samples: importance samples per point.
        streams: source of the noise.
        progress: called with (done, total, note).
        score: does the work in place of ``point_scores``, and gives the same.

    Raises:
        SpecError, NonFiniteError: as for ``evaluate``.
    """
    if samples < 2 * IWAE_SAMPLES:  # with 64 alone log p^ would be the 64-sample bound itself, and KL zero
        problem = f"must be at least {2 * IWAE_SAMPLES}, got {samples}"
        raise SpecError("--samples", problem, "5000 is the papers' choice")
    if len(x) < 2:
        raise SpecError("--points", "must be at least 2 for a standard error", "give more points")
    check_log_weights(model, x)
    scores = (score or point_scores)(model, x, samples, streams, progress)
    _require_finite(scores)
    return scores


def summarise(scores: PointScores, samples: int) -> list[Score]:
    """Means over points of scores from so many samples each, and the active units."""
    groups = samples // IWAE_SAMPLES
    rows = [
        ("iwae_64", scores.iwae_64, f"64-sample bound, nats; mean over {groups} groups of samples per point"),
        ("log_p", scores.log_p, f"{samples}-sample bound as estimate of log p(x), nats"),
        ("kl_q_p", scores.kl_q_p, "log_p - iwae_64 per point, nats"),
        ("elbo", scores.elbo, f"mean of log w over {samples} samples, nats"),
        ("ess_64", scores.ess_64, f"effective sample size of 64 samples; mean over {groups} groups per point"),
        ("ess", scores.ess, f"effective sample size of {samples} samples"),
    ]
    return [*(Score.average(*row) for row in rows), *active_units(scores.layers)]


def point_scores(
    model: LatentModel, x: Tensor, samples: int, streams: Streams, progress: Progress | None = None
) -> PointScores:
    """Bounds and ESS of each point, a few thousand samples at a time."""
    per_point = []
    with evaluation_mode(model), torch.no_grad():
        for point in range(len(x)):
            log_w = _log_weights(model, x[point : point + 1], samples, streams, point)
            per_point.append(_summaries(log_w))
            if progress is not None:
                progress(point + 1, len(x), "points")
        layers = latent_means(model, x, streams)
    elbo, iwae_64, log_p, ess_64, ess = np.array(per_point).T
    return PointScores(elbo, iwae_64, log_p, ess_64, ess, layers)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode within the block, and back in its own afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _require_finite(scores: PointScores) -> None:
    finite = np.isfinite(scores.elbo) & np.isfinite(scores.log_p)
    if not finite.all():
        problem = f"NaN or infinite at {int((~finite).sum())} points, the first test point {int(finite.argmin())}"
        raise NonFiniteError("bound", problem, "check the model's parameters and the data")


def sample_log_weights(model: LatentModel, x: Tensor, samples: int, streams: Streams) -> Tensor:
    """Log-weights of points ``[B, *event]``, ``[B, samples]``, float64; the same numbers as ``evaluate`` sees."""
    with evaluation_mode(model), torch.no_grad():
        return torch.stack([_log_weights(model, x[i : i + 1], samples, streams, i) for i in range(len(x))])


def _log_weights(model: LatentModel, x: Tensor, samples: int, streams: Streams, point: int) -> Tensor:
    """Log-weights of one point, ``[samples]``, float64."""
    shape = (1, 1, samples, *model.noise_shape(x))
    noise = streams.normal("evaluate", (point,), shape, dtype=x.dtype, device=x.device)
    portions = torch.split(noise, _ROWS, dim=2)
    with FastLinear():
        return torch.cat([model(x, portion).log_w.flatten() for portion in portions]).double()


def _summaries(log_w: Tensor) -> tuple[float, ...]:
    """(elbo, iwae_64, log_p, ess_64, ess) of one point from its ``[samples]`` log-weights."""
    whole = log_w[: len(log_w) // IWAE_SAMPLES * IWAE_SAMPLES].view(-1, IWAE_SAMPLES)
    values = (
        log_w.mean(), log_mean_exp(whole).mean(), log_mean_exp(log_w),
        effective_sample_size(whole).mean(), effective_sample_size(log_w),
    )  # fmt: skip
    return tuple(float(value) for value in values)
