"""How much a section measures: what a device does in a minute or so, or little, to see that the section works."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sizes:
    """What the sections take from it; nothing needs tuning on a device at hand.

    Attributes:
        draws: by K, gradient draws of the fast engine in one call, in which it may take as many at once as it likes.
        chunks: draws at once that the hand-written vmap is tried with.
        most_samples: importance samples in one chunk of it, at most.
        own_engines: whether the engines ``loop`` and ``vmap`` are timed too.
        measured: by K, draws of the section measure.
        steps: training steps in one call.
        runs: numbers of runs side by side.
        images: data points of the section evaluation.
        samples: importance samples of each.
        at_once: images at once that the hand-written evaluation is tried with.
        exact: by K, draws of the section agreement.
        busy_rounds: rounds of the section busy.
        loss_draws: draws of a loss in one measurement.
        loss_rounds: rounds of the section losses.
        pairs: of trainings in the section monitoring.
        training_s: how long each is about, seconds.
        call_s: a call of a hand-written contender is made about so long, seconds.
        row_s: no round is begun after so long, seconds.
    """

    draws: Mapping[int, int]
    chunks: tuple[int, ...]
    most_samples: int
    own_engines: bool
    measured: Mapping[int, int]
    steps: int
    runs: tuple[int, ...]
    images: int
    samples: int
    at_once: tuple[int, ...]
    exact: Mapping[int, int]
    busy_rounds: int
    loss_draws: int
    loss_rounds: int
    pairs: int
    training_s: float
    call_s: float
    row_s: float


_CPU = Sizes(
    draws={1: 2000, 10: 600, 100: 150, 1000: 24},
    chunks=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    most_samples=32_000,
    own_engines=True,
    measured=dict.fromkeys((1, 10, 100, 1000), 1000),
    steps=20,
    runs=(5,),
    images=20,
    samples=5000,
    at_once=(1, 2, 8),
    exact={1: 40, 10: 40, 100: 20, 1000: 6},
    busy_rounds=2,
    loss_draws=400,
    loss_rounds=5,
    pairs=10,
    training_s=8.0,
    call_s=1.0,
    row_s=120.0,
)
# The engine takes thousands of draws at once there, and the loop two milliseconds for each.
_CUDA = Sizes(
    draws={1: 16_384, 10: 8192, 100: 4096, 1000: 512},
    chunks=(32, 128, 256, 512, 1024),
    most_samples=131_072,
    own_engines=False,
    measured=dict.fromkeys((1, 10, 100, 1000), 10_000),
    steps=180,
    runs=(5, 20),
    images=10_000,
    samples=5000,
    at_once=(1, 8, 40),
    exact={1: 40, 10: 40, 100: 20, 1000: 6},
    busy_rounds=2,
    loss_draws=400,
    loss_rounds=5,
    pairs=10,
    training_s=8.0,
    call_s=0.3,
    row_s=12.0,
)
_QUICK = Sizes(
    draws={1: 8, 10: 4},
    chunks=(1, 2),
    most_samples=100,
    own_engines=True,
    measured=dict.fromkeys((1, 10), 8),
    steps=2,
    runs=(2,),
    images=3,
    samples=128,
    at_once=(1, 2),
    exact={2: 4},
    busy_rounds=1,
    loss_draws=8,
    loss_rounds=1,
    pairs=1,
    training_s=4.0,
    call_s=0.01,
    row_s=1.0,
)


def sizes(quick: bool) -> Sizes:
    """Those of the device that is used, or the smallest."""
    if quick:
        return _QUICK
    return _CUDA if torch.cuda.is_available() else _CPU
