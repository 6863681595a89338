"""Bounds, ESS and active units of a trained model, streamed over samples in bounded memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from snrkit.backend.kernels import FastLinear
from snrkit.backend.memory import out_of_memory, require_memory, within_memory
from snrkit.core.logweights import effective_sample_size, log_mean_exp
from snrkit.core.streams import Streams
from snrkit.errors import NonFiniteError, SpecError
from snrkit.evaluation.latents import LayerMeans, active_units, latent_means
from snrkit.evaluation.score import Score
from snrkit.models.base import LatentModel
from snrkit.models.state import in_mode
from snrkit.specs.given import whole
from snrkit.trial.needs import require_pure
from snrkit.trial.opening import tried
from snrkit.types import Array, Progress

Scoring = Callable[[LatentModel, Tensor, int, Streams, Progress | None], "PointScores"]

IWAE_SAMPLES = 64
_ROWS = 2048
# Groups of 64 samples at once when they are averaged: 32 MiB of log-weights.
_GROUPS = 2**16
# Points that a message names.
_NAMED = 10
_FEWER = "ask for fewer samples"


@dataclass(frozen=True)
class PointScores:
    """Per data point, each ``[N]``: bounds in nats, ESS in samples; and the latent means of every layer.

    ``zero_weights`` are the samples whose weight is zero: log w = -inf, so the ELBO is -inf too.
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
        ModelError, CapabilityError: the model's own code raises, or its log-weights are no function of point and noise.
        NonFiniteError: a log-weight is NaN or +inf, or all of a point are -inf.
        ResourceError: the log-weights of one point do not fit into memory.
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
    model: LatentModel, x: Tensor, samples: int, streams: Streams, progress: Progress | None = None
) -> PointScores:
    """Bounds and ESS of each point, a few thousand samples at a time; only log-weights are kept, those of one point."""
    per_point, (log_w,) = [], _room(1, samples, x.device)
    with (
        in_mode(model, "evaluation"),
        torch.no_grad(),
        within_memory("samples", f"{samples:,} samples per point", _FEWER),
    ):
        for point in range(len(x)):
            _log_weights(model, x[point : point + 1], streams, point, log_w)
            per_point.append(_summaries(log_w))
            if progress is not None:
                progress(point + 1, len(x), "points")
        layers = latent_means(model, x, streams)
    elbo, iwae_64, log_p, ess_64, ess, zero = np.array(per_point).T
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


def sample_log_weights(model: LatentModel, x: Tensor, samples: int, streams: Streams) -> Tensor:
    """Log-weights of points ``[B, *event]``, ``[B, samples]``, float64; the same numbers as ``evaluate`` sees.

    Raises:
        ResourceError: they do not fit into memory.
    """
    log_w = _room(len(x), samples, x.device)
    with (
        in_mode(model, "evaluation"),
        torch.no_grad(),
        within_memory("samples", f"{samples:,} samples per point", _FEWER),
    ):
        for point in range(len(x)):
            _log_weights(model, x[point : point + 1], streams, point, log_w[point])
    return log_w


def _room(points: int, samples: int, device: torch.device) -> Tensor:
    """A place for log-weights, ``[points, samples]``, float64, once it is seen that it fits beside what is made of them."""
    if device.type == "cpu":
        # As much again as one point's is needed to take exponentials.
        require_memory("samples", f"{samples:,} samples per point", 8 * samples * (points + 1), _FEWER)
    with within_memory("samples", f"{samples:,} samples per point", _FEWER):
        return torch.empty(points, samples, dtype=torch.float64, device=device)


def _log_weights(model: LatentModel, x: Tensor, streams: Streams, point: int, log_w: Tensor) -> None:
    """Log-weights of one point ``[1, *event]`` into ``log_w``, ``[samples]``, a few thousand at a time."""
    shape = model.noise_shape(x)
    noise = streams.normal_rows("evaluate", (point,), len(log_w), shape, _ROWS, dtype=x.dtype, device=x.device)
    start = 0
    with FastLinear():
        for portion in noise:
            log_w[start : start + len(portion)].copy_(_in_halves(model, x, portion))
            start += len(portion)


def _in_halves(model: LatentModel, x: Tensor, noise: Tensor) -> Tensor:
    """Log-weights of noise ``[n, *noise_shape]`` for one point, ``[n]``; in halves where memory runs out.

    A sample's log-weight does not depend on the others in its pass, but for the last bits of matrix products.
    """
    try:
        return model(x, noise[None, None]).log_w.flatten()  # type: ignore[no-any-return]
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error) or len(noise) == 1:
            raise
    # Outside of the handler, whose traceback keeps the tensors of what failed.
    return torch.cat([_in_halves(model, x, half) for half in noise.tensor_split(2)])


def _summaries(log_w: Tensor) -> tuple[float, ...]:
    """(elbo, iwae_64, log_p, ess_64, ess, zero weights) of one point; its log-weights ``[samples]`` are spoilt."""
    groups = log_w[: len(log_w) // IWAE_SAMPLES * IWAE_SAMPLES].view(-1, IWAE_SAMPLES)
    parts = torch.split(groups, _GROUPS)
    values = (
        log_w.mean(), _mean(log_mean_exp, parts), log_mean_exp(log_w), _mean(_ess, parts), (log_w == -torch.inf).sum(),
        _ess_in_place(log_w),
    )  # fmt: skip
    elbo, iwae_64, log_p, ess_64, zero, ess = (float(value) for value in values)
    return elbo, iwae_64, log_p, ess_64, ess, zero


def _mean(value: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> Tensor:
    """The mean over groups of what is computed of some thousands at a time."""
    return torch.cat([value(part) for part in parts]).mean()


def _ess(groups: Tensor) -> Tensor:
    """Effective sample sizes ``[G]`` of log-weights ``[G, n]``: none where every weight is zero."""
    return torch.where(groups.amax(dim=-1) > -torch.inf, effective_sample_size(groups), 0.0)


def _ess_in_place(log_w: Tensor) -> Tensor:
    """As ``effective_sample_size``, in the memory of the log-weights, which are doubled."""
    return torch.exp(2 * torch.logsumexp(log_w, dim=-1) - torch.logsumexp(log_w.mul_(2), dim=-1))
