"""Runs to be timed step by step, on random images, so that no data are needed."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analyses.speed.sections.reference import device
from analyses.speed.sections.timing import MOST_CALLS, Call
from snrkit.backend.kernels import same_convolutions
from snrkit.backend.precision import products
from snrkit.data.base import Dataset
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.loop import Crew
from snrkit.training.opening import resolve_spec
from snrkit.training.trainer import Trainer

BATCH = 20


def random_bytes(points: int, side: int = 28) -> Dataset:
    """So many images of random bytes; an epoch of them must have room for all steps of a section."""
    pixels = np.random.default_rng(0).integers(0, 256, (points, side * side), dtype=np.uint8)
    return Dataset("random", pixels, pixels[:10], "grey", (side, side), "random bytes")


def trainer(estimator: dict[str, Any], dataset: Dataset, seed: int = 0, **settings: Any) -> Trainer:
    """A run of the papers' network, unless settings name another, within its first epoch."""
    asked = {"estimator": estimator, "batch_size": BATCH, "seed": seed, "eval_points": 0, **settings}
    spec = resolve_spec(RunSpec.parse(asked, "benchmark"), dataset)
    return Trainer(spec, dataset, RunDir(Path(tempfile.gettempdir())), device(), None)


def estimators(names: Sequence[str], outer: int, inner: int, count: int) -> list[dict[str, Any]]:
    """So many of these estimators in turn, each with outer x inner samples as the papers share them out."""
    total = outer * inner
    shapes = {
        "vae": (total, 1),
        "iwae": (1, total),
        "miwae": (outer, inner),
        "piwae": (outer, inner),
        "ciwae": (1, total),
    }
    turns = itertools.islice(itertools.cycle(names), count)
    return [{"name": name, "M": shapes[name][0], "K": shapes[name][1]} for name in turns]


def steps(crews: Sequence[Crew], count: int) -> Call:
    """A call that takes so many steps of every crew, in the precision of its own that training sets.

    Raises:
        ValueError: an epoch has no room for as many calls as there may be, with those that are repeated.
    """
    if any(crew.steps < count * MOST_CALLS for crew in crews):
        raise ValueError(f"give images for {count * MOST_CALLS} steps")

    def call() -> None:
        for crew in crews:
            with same_convolutions(), products(crew.spec.precision, crew.device):
                for _ in range(count):
                    crew.take_step()

    return call
