"""What a draw of a loss's gradient costs in ``measure_loss``, beside the bare backward pass that a training makes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from analyses.speed.sections.reference import device
from analyses.speed.sections.sizes import Sizes
from analyses.speed.sections.timing import seconds
from snrkit.losses.asked import asked
from snrkit.losses.measure import carried_out
from snrkit.losses.trial import Found

# A draw may cost so many times a bare pass where that takes long, and elsewhere so much beside it.
RATIO, EXTRA_US, LONG_MS = 1.15, 150.0, 2.0
BATCH, PIXELS, CLASSES = 64, 784, 10


@dataclass(frozen=True)
class Case:
    """A classifier with dropout, and the batch that it is measured on.

    Attributes:
        build: makes the module.
        dark: share of the pixels that are off in every image, as at the edges of digits.
    """

    build: Callable[[], nn.Module]
    dark: float = 0.0


def _mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for fan_in, fan_out in zip((PIXELS, *widths), widths, strict=False):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], CLASSES))


def _conv() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(64 * 49, CLASSES),
    )  # fmt: skip


CASES = {
    "mlp 784-16-10": Case(lambda: _mlp(16)),
    "mlp 784-500-500-10": Case(lambda: _mlp(500, 500)),
    "the same, a third of the pixels dark": Case(lambda: _mlp(500, 500), dark=1 / 3),
    "two convolutions": Case(_conv),
}


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row per case."""
    text = (
        f"Milliseconds of a bare backward pass of a classifier with dropout ({BATCH} images of {PIXELS} pixels), and of a\n"
        f"draw in `measure_loss`, {sizes.loss_draws} of them in one measurement, moments included and readings left out;\n"
        f"in turns, the least of {sizes.loss_rounds} rounds. The bar: {RATIO} times the pass where it takes {LONG_MS:g} ms\n"
        f"or more, else {EXTRA_US:g} µs beside it. With all: the time of the whole measurement, its trial and readings\n"
        "too, by its draws; what is read does not grow with them."
    )
    return text, [_row(name, case, sizes) for name, case in CASES.items()]


def _row(name: str, case: Case, sizes: Sizes) -> dict[str, Any]:
    torch.manual_seed(0)
    model = case.build().to(device())
    images, labels = torch.rand(BATCH, PIXELS), torch.arange(BATCH) % CLASSES
    images[:, : round(case.dark * PIXELS)] = 0
    bare, drawn, whole = _both(model, (images.to(device()), labels.to(device())), sizes.loss_draws, sizes.loss_rounds)
    ratio, extra = drawn / bare, 1e6 * (drawn - bare)
    met = ratio <= RATIO if 1000 * bare >= LONG_MS else extra <= EXTRA_US
    return {
        "loss": name, "parameters": sum(p.numel() for p in model.parameters()), "bare pass, ms": 1000 * bare,
        "draw, ms": 1000 * drawn, "with all, ms": 1000 * whole, "ratio": ratio, "beside it, µs": extra,
        "bar": "met" if met else "missed",
    }  # fmt: skip


def _both(model: nn.Module, batch: tuple[Tensor, Tensor], draws: int, rounds: int) -> tuple[float, float, float]:
    """Seconds of a bare pass, of a draw and of a draw with all else, the least of some rounds after an unmeasured one."""

    def loss(module: nn.Module, given: tuple[Tensor, Tensor]) -> Tensor:
        return functional.cross_entropy(module(given[0]), given[1])

    def passes() -> None:
        for _ in range(draws):
            model.zero_grad(set_to_none=True)
            loss(model, batch).backward()

    known: dict[str, Found] = {}
    bare, drawn, whole = [], [], []
    for _ in range(rounds + 1):
        bare.append(seconds(passes) / draws)
        start = time.perf_counter()
        found = carried_out(asked(loss, model, None, batch, draws=draws), known=known)
        whole.append((time.perf_counter() - start) / draws)
        known = found.found
        drawn.append(found.drawing_seconds / draws)
    return min(bare[1:]), min(drawn[1:]), min(whole[1:])
