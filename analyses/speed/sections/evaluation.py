"""The evaluation of test images with many importance samples each, against what is written by hand."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from analyses.speed.sections import peers
from analyses.speed.sections.reference import DECODER, PIXELS, device, limit, reference
from analyses.speed.sections.sizes import Sizes
from analyses.speed.sections.timing import Call, interleaved, paced
from snrkit.core.streams import Streams
from snrkit.evaluation.bounds import point_scores
from snrkit.models.mlp import Mlp

# Images of the MNIST test set, for which the seconds are given.
TEST_SET = 10_000


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row for each way of writing it by hand, and ours."""
    model, _ = reference()
    x = (torch.rand(sizes.images, PIXELS, device=device()) < 0.2).float()
    ideal = 2 * sizes.samples * DECODER / 1e6 / max(limit().values())
    made: dict[str, Callable[[int], Call]] = {
        f"by hand, {n} at once": lambda images, n=n: lambda: by_hand(model, x[:images], sizes.samples, n)  # type: ignore[misc]
        for n in sizes.at_once
    }
    made["by hand, 1 at once, snrkit's random numbers"] = lambda images: (
        lambda: by_hand(model, x[:images], sizes.samples, 1, Streams(0))
    )
    made["snrkit"] = lambda images: lambda: point_scores(model, x[:images], sizes.samples, Streams(0))
    unit = min(sizes.images, max(sizes.at_once))
    calls = {name: paced(make, unit, 3 * sizes.call_s, sizes.images) for name, make in made.items()}
    timing = interleaved(calls, 4 * sizes.row_s)
    ours = timing["snrkit"].median
    rows = [
        {
            "way": name, "images": calls[name][1], "ms per image": found.median,
            f"s for {TEST_SET:,}": found.median * TEST_SET / 1000, "its ms / ours": found.median / ours,
            "share of the limit": ideal / found.median, "range": f"{found.low:.3g} to {found.high:.3g}",
            "rounds": found.rounds, "rounds repeated": found.repeated,
        }
        for name, found in timing.items()
    ]  # fmt: skip
    text = (
        f"{sizes.samples:,} samples of each image. By hand: log p of so many images at once, in plain PyTorch; snrkit: all\n"
        "scores of its evaluation, noise that can be drawn again. Measured on as many images as are given; the\n"
        f"seconds for the MNIST test set, {TEST_SET:,} images, are in proportion."
    )
    return text, rows


def by_hand(model: Mlp, x: Tensor, samples: int, at_once: int, streams: Streams | None = None) -> Tensor:
    """log p of images ``[N, 784]``, nats, ``[N]``: with torch's random numbers, or the streams of each image's own."""
    parameters, found = dict(model.named_parameters()), []
    with torch.no_grad():
        for point, some in enumerate(x.split(at_once)):
            if streams is None:
                noise = torch.randn(len(some), samples, 50, device=x.device)
            else:
                noise = streams.normal("evaluate", (point,), (1, samples, 50), dtype=x.dtype, device=x.device)
            found.append(peers.bounds(parameters, some, noise))
    return torch.cat(found)
