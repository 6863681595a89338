"""Bounds, ESS and active units of a trained model, streamed over samples in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from snrkit.errors import NonFiniteError, SpecError
from snrkit.logweights import effective_sample_size, log_mean_exp
from snrkit.models.base import LatentModel, check_log_weights
from snrkit.streams import Streams

Array = npt.NDArray[np.float64]
Progress = Callable[[float, float, str], None]

IWAE_SAMPLES = 64
ACTIVE_THRESHOLD = 0.01
_ROWS = 2048
_BOOTSTRAP = 200


@dataclass(frozen=True)
class Score:
    """One evaluated quantity.

    Attributes:
        metric: its name.
        value: estimate, an average over the data points unless the definition says otherwise.
        stderr: standard error over data points (bootstrap over points for active units).
        definition: what it is, with units.
    """

    metric: str
    value: float
    stderr: float
    definition: str


@dataclass(frozen=True)
class PointScores:
    """Per data point, each ``[N]``: bounds in nats, ESS in samples; and the proposal means ``[N, D]``."""

    elbo: Array
    iwae_64: Array
    log_p: Array
    ess_64: Array
    ess: Array
    means: Array


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
    if samples < 2 * IWAE_SAMPLES:  # with 64 alone log p^ would be the 64-sample bound itself, and KL zero
        problem = f"must be at least {2 * IWAE_SAMPLES}, got {samples}"
        raise SpecError("--samples", problem, "5000 is the papers' choice")
    if len(x) < 2:
        raise SpecError("--points", "must be at least 2 for a standard error", "give more points")
    check_log_weights(model, x)
    scores = point_scores(model, x, samples, streams, progress)
    _require_finite(scores)
    groups = samples // IWAE_SAMPLES
    rows = [
        ("iwae_64", scores.iwae_64, f"64-sample bound, nats; mean over {groups} groups of samples per point"),
        ("log_p", scores.log_p, f"{samples}-sample bound as estimate of log p(x), nats"),
        ("kl_q_p", scores.log_p - scores.iwae_64, "log_p - iwae_64 per point, nats"),
        ("elbo", scores.elbo, f"mean of log w over {samples} samples, nats"),
        ("ess_64", scores.ess_64, f"effective sample size of 64 samples; mean over {groups} groups per point"),
        ("ess", scores.ess, f"effective sample size of {samples} samples"),
    ]
    found = [Score(name, float(v.mean()), float(v.std(ddof=1) / np.sqrt(len(v))), text) for name, v, text in rows]
    return [*found, active_units(scores.means)]


def point_scores(
    model: LatentModel, x: Tensor, samples: int, streams: Streams, progress: Progress | None = None
) -> PointScores:
    """Bounds and ESS of each point, a few thousand samples at a time."""
    per_point, means = [], []
    with evaluation_mode(model), torch.no_grad():
        for point in range(len(x)):
            log_w = _log_weights(model, x[point : point + 1], samples, streams, point)
            per_point.append(_summaries(log_w))
            means.append(model.encode(x[point : point + 1]).mean[0].double().cpu().numpy())
            if progress is not None:
                progress(point + 1, len(x), "points")
    elbo, iwae_64, log_p, ess_64, ess = np.array(per_point).T
    return PointScores(elbo, iwae_64, log_p, ess_64, ess, np.stack(means))


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
    return torch.cat([model(x, portion).log_w.flatten() for portion in portions]).double()


def _summaries(log_w: Tensor) -> tuple[float, ...]:
    """(elbo, iwae_64, log_p, ess_64, ess) of one point from its ``[samples]`` log-weights."""
    whole = log_w[: len(log_w) // IWAE_SAMPLES * IWAE_SAMPLES].view(-1, IWAE_SAMPLES)
    values = (
        log_w.mean(), log_mean_exp(whole).mean(), log_mean_exp(log_w),
        effective_sample_size(whole).mean(), effective_sample_size(log_w),
    )  # fmt: skip
    return tuple(float(value) for value in values)


def active_units(means: Array) -> Score:
    """How many latent dimensions carry information: Var_x(E_q[z_d]) > 0.01 (Burda et al. 2016, section 5.2).

    Args:
        means: E_q[z] per data point, ``[N, D]``.

    Returns:
        The count, with a bootstrap standard error over data points.
    """
    generator = np.random.Generator(np.random.PCG64DXSM(0))
    picks = generator.integers(0, len(means), size=(_BOOTSTRAP, len(means)))
    counts = [int((means[pick].var(axis=0, ddof=1) > ACTIVE_THRESHOLD).sum()) for pick in picks]
    count = int((means.var(axis=0, ddof=1) > ACTIVE_THRESHOLD).sum())
    definition = (
        f"latent dimensions of {means.shape[1]} with Var_x(E_q[z_d]) > {ACTIVE_THRESHOLD} over {len(means)} points"
    )
    return Score("active_units", float(count), float(np.std(counts, ddof=1)), definition)
