"""Reconstructions of data points from q(z|x), and from q after resampling by importance weights (q_IW)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from snrkit.backend.memory import require_memory, within_memory
from snrkit.core.logweights import normalised
from snrkit.core.streams import Streams
from snrkit.errors import CapabilityError, NonFiniteError
from snrkit.evaluation.decoding import decoding
from snrkit.evaluation.samples import at_zero_noise
from snrkit.evaluation.ssim import image_ssim
from snrkit.models.base import LatentModel, check_log_weights
from snrkit.models.state import in_mode
from snrkit.specs.given import whole

# Importance samples whose log-weights are computed at once.
_ROWS = 2048


@torch.no_grad()
def resample(
    model: LatentModel, x: Tensor, points: Sequence[int], k: int, samples: int, streams: Streams
) -> tuple[Tensor, Tensor]:
    """Samples of q and of q_IW: draw k from q, keep one with probability its normalised importance weight.

    The sample of q is the first of the k, so the two share their noise; at k = 1 they are the same. As k grows, q_IW tends
    to the posterior p(z|x) (Cremer, Morris & Duvenaud 2017).

    Args:
        model: the model, in evaluation mode.
        x: points ``[B, *event]``.
        points: their numbers, which key the noise, so that a point's samples do not depend on its company.
        k: importance samples behind each sample, at least 1.
        samples: samples S per point and kind, at least 1.
        streams: source of the noise.

    Returns:
        (z of q, z of q_IW), each ``[B, S, D]``.

    Raises:
        NonFiniteError: a log-weight is NaN or +inf, or all of a point are -inf.
        ResourceError: the log-weights of a point do not fit into memory.
    """
    # Log-weights in the model's precision and in float64, their shares and the sums of these.
    require_memory("k", f"{k:,} samples", 24 * k, "resample from fewer")
    with within_memory("k", f"{k:,} samples of which {samples:,} are kept", "resample from fewer"):
        both = [
            [_pair(model, x[i : i + 1], k, streams, (point, sample)) for sample in range(samples)]
            for i, point in enumerate(points)
        ]
    plain, weighted = (torch.stack([torch.stack([pair[kind] for pair in row]) for row in both]) for kind in (0, 1))
    return plain, weighted


def _pair(model: LatentModel, x: Tensor, k: int, streams: Streams, index: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """One sample ``[D]`` of q and one of q_IW for one point ``[1, *event]``."""
    log_w = torch.cat([model(x, part[None, None]).log_w.flatten() for part in _noise(model, x, k, streams, index)])
    log_w = log_w.double()
    cumulated = normalised(log_w).cumsum_(dim=0)
    level = streams.uniform("resample", index, (1,), dtype=torch.float64, device=x.device)
    found = torch.searchsorted(cumulated, level * cumulated[-1], right=True).clamp(max=k - 1)
    # One read from the device for all that is decided.
    decided = torch.stack([found[0], (log_w < torch.inf).all(), (log_w > -torch.inf).any()])
    chosen, sound, any_left = (int(value) for value in decided.tolist())
    if not sound:
        raise NonFiniteError("log-weight", f"NaN or infinite at test point {index[0]}", "check the model's parameters")
    if not any_left:
        problem = f"every one of {k} is -inf at test point {index[0]}"
        raise NonFiniteError("log-weight", problem, "leave this point out, or raise `k`")
    both = _rows(_noise(model, x, k, streams, index), (0, chosen))
    plain, weighted = model.proposal(x).sample(both[None, None])[0, 0]
    return plain, weighted


def _noise(model: LatentModel, x: Tensor, k: int, streams: Streams, index: tuple[int, int]) -> Iterator[Tensor]:
    """The noise of k samples, ``[n, *noise_shape]`` at a time; it is drawn twice rather than kept."""
    shape = model.noise_shape(x)
    return streams.normal_rows("reconstruct", index, k, shape, _ROWS, dtype=x.dtype, device=x.device)


def _rows(portions: Iterator[Tensor], wanted: Sequence[int]) -> Tensor:
    """Some rows of what comes in portions, in ascending order."""
    found, start = [], 0
    for portion in portions:
        found += [portion[row - start] for row in wanted if start <= row < start + len(portion)]
        start += len(portion)
        if len(found) == len(wanted):
            break
    return torch.stack(found)


def reconstruct(
    model: LatentModel, x: Tensor, points: Sequence[int], k: int, samples: int, streams: Streams
) -> pd.DataFrame:
    """Points beside their reconstructions from q and from q_IW; arguments as for ``resample``.

    Returns:
        One row per image: ``point``; ``kind`` (``input``, ``q`` or ``q_iw``); ``sample`` (0 for an input); ``pixels``, the
        input's or the Bernoulli means; ``z``, empty for an input; ``log_likelihood``, log p(x|z) in nats, NaN for an input.

    Raises:
        SpecError: k or samples below 1, or a model that does not accept the points.
        CapabilityError: the model has no ``pixel_means``.
        NonFiniteError, ResourceError: as for ``resample``.
    """
    for name, value in (("k", k), ("samples", samples)):
        whole(name, value, 1, "give a positive number")
    require_memory("k", f"{k:,} samples of a point", 8 * k, "ask for fewer")
    # Pixels and latents of both kinds, as they are computed and as they are kept.
    size = 4 * len(points) * samples * x[0].nbytes
    require_memory("samples", f"{samples:,} reconstructions of {len(points):,} points", size, "ask for fewer")
    pixel_means: Callable[[Tensor], Tensor] | None = getattr(model, "pixel_means", None)
    if pixel_means is None:
        name = model.__class__.__name__
        raise CapabilityError("model", f"{name} has no pixel_means to reconstruct with", "choose a model of images")
    check_log_weights(model, x)
    inputs = x.cpu().numpy()
    rows = [(point, "input", 0, inputs[i], inputs[i, :0], float("nan")) for i, point in enumerate(points)]
    with in_mode(model, "evaluation"), torch.no_grad():
        for kind, z in zip(("q", "q_iw"), resample(model, x, points, k, samples, streams), strict=True):
            means = pixel_means(z)
            values = means.cpu().numpy(), z.cpu().numpy(), _log_likelihood(x[:, None], means).cpu().numpy()
            rows += [
                (point, kind, sample, *(value[i, sample] for value in values))
                for i, point in enumerate(points)
                for sample in range(samples)
            ]
    return pd.DataFrame(rows, columns=["point", "kind", "sample", "pixels", "z", "log_likelihood"])


def rewrite(
    model: LatentModel, x: Tensor, points: Sequence[int], k: int, samples: int, streams: Streams
) -> pd.DataFrame:
    """Sentences beside what is decoded greedily from the mean of q, from q and from q_IW; arguments as for ``resample``.

    Returns:
        One row per sentence: ``point``; ``kind`` (``input``, ``mean``, ``q`` or ``q_iw``); ``sample`` (0 for an input and a
        mean); ``text``; ``z``, empty for an input; ``log_likelihood``, log p(x|z) of the input in nats, NaN for an input.

    Raises:
        SpecError: k or samples below 1, or a model that does not accept the points.
        CapabilityError: the model decodes no sentences.
        NonFiniteError, ResourceError: as for ``resample``.
    """
    for name, value in (("k", k), ("samples", samples)):
        whole(name, value, 1, "give a positive number")
    require_memory("k", f"{k:,} samples of a point", 8 * k, "ask for fewer")
    shown = decoding(model)
    check_log_weights(model, x)
    rows: list[tuple[Any, ...]] = [
        (point, "input", 0, text, (), float("nan")) for point, text in zip(points, shown.inputs(x), strict=True)
    ]
    with in_mode(model, "evaluation"), torch.no_grad():
        plain, weighted = resample(model, x, points, k, samples, streams)
        for kind, z in (("mean", at_zero_noise(model, x)[:, None]), ("q", plain), ("q_iw", weighted)):
            texts = shown.show(z.flatten(0, 1))
            logs = (model.log_joint(x[:, None, None], z[:, None]) - model.log_prior(z[:, None]))[:, 0]
            rows += [
                (
                    point,
                    kind,
                    sample,
                    texts[i * z.shape[1] + sample],
                    z[i, sample].cpu().numpy(),
                    float(logs[i, sample]),
                )
                for i, point in enumerate(points)
                for sample in range(z.shape[1])
            ]
    return pd.DataFrame(rows, columns=["point", "kind", "sample", "text", "z", "log_likelihood"])


def _log_likelihood(x: Tensor, means: Tensor) -> Tensor:
    """log Bernoulli(x; means) summed over pixels; means that were rounded to 0 or 1 count as the nearest number between."""
    eps = torch.finfo(means.dtype).eps
    inner = means.clamp(eps, 1 - eps)
    return (x * inner.log() + (1 - x) * (1 - inner).log()).sum(dim=-1)


def with_ssim(images: pd.DataFrame, image_shape: tuple[int, int]) -> pd.DataFrame:
    """A table of ``reconstruct`` with the SSIM of each reconstruction with its input in column ``ssim``, NaN for inputs.

    Args:
        images: one row per image, pixels row-major.
        image_shape: (height, width), each at least as large as the window.
    """
    inputs = images[images["kind"] == "input"].set_index("point")["pixels"]
    drawn = images[images["kind"] != "input"]
    means, originals = (torch.as_tensor(np.stack(list(pixels))) for pixels in (drawn["pixels"], inputs[drawn["point"]]))
    return images.assign(ssim=pd.Series(image_ssim(means, originals, image_shape), index=drawn.index))
