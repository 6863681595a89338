"""Bounds, ESS and active units of a trained model, streamed over samples in bounded memory."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snrkit.backend.kernels import full_precision, same_convolutions
from snrkit.backend.memory import require_memory, within_memory
from snrkit.core.logweights import effective_sample_size, log_mean_exp
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, NonFiniteError, SpecError
from snrkit.evaluation.latents import LayerMeans, active_units, latent_means
from snrkit.evaluation.passes import Noise, Pass, fill_log_weights, one_pass
from snrkit.evaluation.score import Score
from snrkit.models.base import LatentModel
from snrkit.models.state import in_mode
from snrkit.specs.given import whole
from snrkit.trial.needs import require_pure
from snrkit.trial.opening import tried
from snrkit.types import Array, Progress

Scoring = Callable[[LatentModel, Tensor, int, Streams, Progress | None], "PointScores"]

IWAE_SAMPLES = 64
# Groups of 64 samples at once when they are averaged: 32 MiB of log-weights.
_GROUPS = 2**16
# Points that a message names.
_NAMED = 10
_FEWER = "ask for fewer samples"


@dataclass(frozen=True)
class PointScores:
    """Per data point, each ``[N]``: bounds in nats, ESS in samples; and the latent means of every layer.

    Latents without a mean have no layers here. ``zero_weights`` are the samples whose weight is zero: log w = -inf, so the
    ELBO is -inf too.
    """

    elbo: Array
    iwae_64: Array
    log_p: Array
    ess_64: Array
    ess: Array
    zero_weights: Array
    layers: list[LayerMeans]

    @property
    def kl_q_p(self) -> Array:
        """log_p - iwae_64, nats, ``[N]``."""
        return self.log_p - self.iwae_64


def evaluate(
    model: LatentModel,
    x: Tensor,
    samples: int,
    streams: Streams,
    progress: Progress | None = None,
    score: Scoring | None = None,
) -> list[Score]:
    """Bounds and diagnostics of a model on given points.

    Args:
        model: the model.
        x: points ``[N, *event]``, N at least 2, on the model's device.
        samples: importance samples per point, at least 128.
        streams: source of the noise; each point has its own stream.
        progress: called with (done, total, note).
        score: as for ``checked_scores``.

    Raises:
        SpecError: fewer than 128 samples or 2 points, or a model that does not accept the points.
        ModelError, CapabilityError: the model's own code raises, or its log-weights are no function of point and noise.
        NonFiniteError: a log-weight is NaN or +inf, or all of a point are -inf.
        ResourceError: the log-weights of one point do not fit into memory.
    """
    return summarise(checked_scores(model, x, samples, streams, progress, score), samples)


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
        SpecError, NonFiniteError, ResourceError: as for ``evaluate``.
    """
    # With 64 alone log p^ would be the 64-sample bound itself, and KL zero.
    whole("samples", samples, 2 * IWAE_SAMPLES, "5000 is the papers' choice")
    if len(x) < 2:
        raise SpecError("points", "must be at least 2 for a standard error", "give more points")
    require_pure("evaluate", tried(model, x))
    scores = (score or point_scores)(model, x, samples, streams, progress)
    _require_finite(scores)
    return scores


def summarise(scores: PointScores, samples: int) -> list[Score]:
    """Means over points of scores from so many samples each, and the active units.

    Where weights are zero, their share is a score too, and a bound that is -inf for it is given as that.
    """
    groups = samples // IWAE_SAMPLES
    rows = [
        ("iwae_64", scores.iwae_64, f"64-sample bound, nats; mean over {groups} groups of samples per point"),
        ("log_p", scores.log_p, f"{samples}-sample bound as estimate of log p(x), nats"),
        ("kl_q_p", scores.kl_q_p, "log_p - iwae_64 per point, nats"),
        ("elbo", scores.elbo, f"mean of log w over {samples} samples, nats"),
        ("ess_64", scores.ess_64, f"effective sample size of 64 samples; mean over {groups} groups per point"),
        ("ess", scores.ess, f"effective sample size of {samples} samples"),
    ]
    if scores.zero_weights.any():
        at = _named(np.flatnonzero(scores.zero_weights))
        definition = f"share of samples with log w = -inf: {int(scores.zero_weights.sum()):,} in all, at {at}"
        rows.append(("zero_weights", scores.zero_weights / samples, definition))
    return [*(Score.average(*row) for row in rows), *active_units(scores.layers)]


def point_scores(
    model: LatentModel,
    x: Tensor,
    samples: int,
    streams: Streams,
    progress: Progress | None = None,
    at_once: Pass | None = None,
) -> PointScores:
    """Bounds and ESS of each point, a few thousand samples at a time; only log-weights are kept, those of one pass.

    Args:
        model: the model.
        x: points ``[N, *event]``.
        samples: importance samples per point.
        streams: source of the noise; each point has its own stream.
        progress: called with (done, total, note).
        at_once: what one pass computes; None: what suits the device. It changes no more than the last digits.

    Raises:
        ResourceError: the log-weights of one point do not fit into memory.
    """
    found, within = [], within_memory("samples", f"{samples:,} samples per point", _FEWER)
    with in_mode(model, "evaluation"), torch.no_grad(), full_precision(), same_convolutions(), within:
        at_once = at_once or one_pass(model, x)
        noise = Noise(streams, samples, model.noise_shape(x), x)
        log_w = _room(min(at_once.points(samples), len(x)), samples, x.device)
        for points in at_once.parts(len(x), samples):
            own = log_w[: len(points)]
            fill_log_weights(model, x, points, noise, at_once.rows, own)
            found.append(_summaries(own))
            if progress is not None:
                progress(points.stop, len(x), "points")
        layers: list[LayerMeans] = []
        with suppress(CapabilityError):  # latents without a mean, as numbers of categories are, have no active units
            layers = latent_means(model, x, streams, at_once)
    elbo, iwae_64, log_p, ess_64, ess, zero = torch.cat(found).T.cpu().numpy()
    return PointScores(elbo, iwae_64, log_p, ess_64, ess, zero, layers)


def _require_finite(scores: PointScores) -> None:
    """Weights of zero are one thing, of which a bound may be -inf; values that are no numbers are another."""
    sound = ~np.isnan(scores.elbo) & (scores.elbo < np.inf) & (scores.log_p < np.inf)
    if not sound.all():
        problem = f"NaN or infinite at {int((~sound).sum())} points, the first test point {int(sound.argmin())}"
        raise NonFiniteError("bound", problem, "check the model's parameters and the data")
    empty = np.flatnonzero(scores.log_p == -np.inf)
    if len(empty):
        problem = f"every importance weight is zero (log w = -inf) at {_named(empty)}"
        raise NonFiniteError("log_p", problem, "check what the model gives these points, or leave them out")


def _named(points: npt.NDArray[np.int64]) -> str:
    """``3 points (0, 4, 7)``; of many the first ten."""
    more = ", ..." if len(points) > _NAMED else ""
    return f"{len(points)} test point{'s' * (len(points) > 1)} ({', '.join(map(str, points[:_NAMED]))}{more})"


def sample_log_weights(
    model: LatentModel, x: Tensor, samples: int, streams: Streams, at_once: Pass | None = None
) -> Tensor:
    """Log-weights of points ``[B, *event]``, ``[B, samples]``, float64; the same numbers as ``evaluate`` sees.

    Args:
        model: the model.
        x: the points.
        samples: importance samples per point.
        streams: source of the noise.
        at_once: as for ``point_scores``.

    Raises:
        ResourceError: they do not fit into memory.
    """
    log_w = _room(len(x), samples, x.device)
    within = within_memory("samples", f"{samples:,} samples per point", _FEWER)
    with in_mode(model, "evaluation"), torch.no_grad(), within:
        at_once = at_once or one_pass(model, x)
        noise = Noise(streams, samples, model.noise_shape(x), x)
        for points in at_once.parts(len(x), samples):
            own = log_w[points.start : points.stop]
            fill_log_weights(model, x, points, noise, at_once.rows, own)
    return log_w


def _room(points: int, samples: int, device: torch.device) -> Tensor:
    """A place for log-weights, ``[points, samples]``, float64, once it is seen that it fits beside what is made of them."""
    if device.type == "cpu":
        # As much again as one point's is needed to take exponentials.
        require_memory("samples", f"{samples:,} samples per point", 8 * samples * (points + 1), _FEWER)
    with within_memory("samples", f"{samples:,} samples per point", _FEWER):
        return torch.empty(points, samples, dtype=torch.float64, device=device)


def _summaries(log_w: Tensor) -> Tensor:
    """(elbo, iwae_64, log_p, ess_64, ess, zero weights) of each point, ``[n, 6]``; log-weights ``[n, samples]`` are spoilt.

    Nothing is read back from a device.
    """
    points, samples = log_w.shape
    groups = log_w[:, : samples // IWAE_SAMPLES * IWAE_SAMPLES].reshape(points, -1, IWAE_SAMPLES)
    parts = torch.split(groups, max(1, _GROUPS // points), dim=1)
    values = log_w.mean(dim=1), _mean(log_mean_exp, parts), log_mean_exp(log_w), _mean(_ess, parts)
    zero = (log_w == -torch.inf).sum(dim=1)
    return torch.stack([*values, _ess_in_place(log_w), zero.double()], dim=1)


def _mean(value: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> Tensor:
    """The mean over groups, ``[n]``, of what is computed of some thousands ``[n, G, 64]`` at a time."""
    return torch.cat([value(part) for part in parts], dim=1).mean(dim=1)


def _ess(groups: Tensor) -> Tensor:
    """Effective sample sizes ``[n, G]`` of log-weights ``[n, G, 64]``: none where every weight is zero."""
    return torch.where(groups.amax(dim=-1) > -torch.inf, effective_sample_size(groups), 0.0)


def _ess_in_place(log_w: Tensor) -> Tensor:
    """As ``effective_sample_size``, in the memory of the log-weights, which are doubled."""
    return torch.exp(2 * torch.logsumexp(log_w, dim=-1) - torch.logsumexp(log_w.mul_(2), dim=-1))
