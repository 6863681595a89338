"""How like their originals reconstructions look: structural similarity (Wang et al. 2004)."""

import warnings

import numpy as np
import torch
from torch import Tensor

from snrkit.core.streams import Streams
from snrkit.evaluation.score import Score
from snrkit.models.base import LatentModel
from snrkit.models.state import in_mode
from snrkit.types import Array

KERNEL, SIGMA = 11, 1.5
WINDOW = f"{KERNEL}x{KERNEL} Gaussian window, sigma {SIGMA}, range 1, one window per pixel, borders reflected"
DEFINITION = f"structural similarity of the image given and the Bernoulli means of one sample from q, {WINDOW}"
_PORTION = 500


def has_ssim(model: LatentModel, image_shape: tuple[int, int] | None) -> bool:
    """Whether there is something to compare: a model of images that are at least as large as the window."""
    return hasattr(model, "pixel_means") and image_shape is not None and min(image_shape) >= KERNEL


def point_ssim(model: LatentModel, x: Tensor, image_shape: tuple[int, int], streams: Streams) -> Array:
    """SSIM of each image with its reconstruction from one z ~ q(z|x).

    Args:
        model: a model with ``pixel_means(z)``.
        x: images ``[N, P]`` in [0, 1], row-major.
        image_shape: (height, width), each at least 11.
        streams: source of the noise; each point has its own stream.

    Returns:
        ``[N]``, each in [-1, 1].
    """
    found = []
    with in_mode(model, "evaluation"), torch.no_grad():
        for start in range(0, len(x), _PORTION):
            own = x[start : start + _PORTION]
            found.append(image_ssim(reconstructions(model, own, streams, start), own, image_shape))
    return np.concatenate(found)


def image_ssim(images: Tensor, originals: Tensor, image_shape: tuple[int, int]) -> Array:
    """SSIM of each image with its original.

    Args:
        images: ``[N, P]`` in [0, 1], row-major.
        originals: as many of the same size.
        image_shape: (height, width), each at least 11.

    Returns:
        ``[N]``, each in [-1, 1].
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optional parts that are not installed
        from torchmetrics.functional.image import structural_similarity_index_measure

    pair = (image.reshape(-1, 1, *image_shape).float() for image in (images, originals))
    value = structural_similarity_index_measure(
        *pair, kernel_size=KERNEL, sigma=SIGMA, data_range=1.0, reduction="none"
    )
    return np.asarray(torch.as_tensor(value).double().cpu())


def reconstructions(model: LatentModel, x: Tensor, streams: Streams, first: int = 0) -> Tensor:
    """Bernoulli means of one sample each: ``[N, P]`` to ``[N, P]``.

    Args:
        model: a model with ``pixel_means(z)``.
        x: points, the first of which is number ``first``.
        streams: source of the noise; each point has its own stream.
        first: that number.
    """
    shape = (1, 1, *model.noise_shape(x))
    each = [
        streams.normal("reconstruct", (point,), shape, dtype=x.dtype, device=x.device)
        for point in range(first, first + len(x))
    ]
    z = model.proposal(x).sample(torch.stack(each))
    means: Tensor = model.pixel_means(z)[:, 0, 0]  # type: ignore[operator]
    return means


def ssim_score(values: Array) -> Score:
    """The mean over points of ``point_ssim``."""
    return Score.average("ssim", values, DEFINITION)
