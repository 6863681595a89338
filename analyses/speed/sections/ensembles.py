"""Training steps of five estimators, one by one and side by side as one ensemble."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analyses.speed.sections.reference import device
from analyses.speed.sections.timing import Call, interleaved
from snrkit.data import load
from snrkit.runs.folder import RunDir
from snrkit.specs.run import RunSpec
from snrkit.training.ensemble import Ensemble
from snrkit.training.loop import Crew
from snrkit.training.opening import resolve_spec
from snrkit.training.trainer import Trainer

TINY = {"data": {"name": "digits"}, "model": {"options": {"hidden": [16], "latent": 3}}}
PAPERS = {"data": {"name": "mnist", "train_limit": 6000}}
STEPS = 10


def run() -> tuple[str, list[dict[str, Any]]]:
    """One row per set-up."""
    rows = [
        _row("digits, 16 hidden units, T = 8", TINY, (2, 4), 5),
        _row("digits, 16 hidden units, T = 8", TINY, (2, 4), 20),
        _row("MNIST, 200-200 hidden units, T = 64", PAPERS, (8, 8), 5),
    ]
    text = (
        "Milliseconds per step of all runs: VAE, IWAE, MIWAE, PIWAE and CIWAE in turn, one by one, and as one batched\n"
        "ensemble (`snrkit sweep --ensemble N`)."
    )
    return text, rows


def _row(title: str, settings: dict[str, Any], shape: tuple[int, int], count: int) -> dict[str, Any]:
    alone, joint = trainers(settings, *shape, count), [Ensemble(trainers(settings, *shape, count), Path("unused"))]
    for crew in (*alone, *joint):
        crew.begin_epoch()
    timing = interleaved({"alone": (_steps(alone), STEPS), "joint": (_steps(joint), STEPS)})
    one_by_one, side_by_side = timing["alone"].median, timing["joint"].median
    return {
        "what": title, "runs": count, "one by one, ms": one_by_one, "ensemble, ms": side_by_side,
        "ratio": one_by_one / side_by_side, "rounds repeated": timing["joint"].repeated,
    }  # fmt: skip


def _steps(crews: Sequence[Crew]) -> Call:
    def steps() -> None:
        for _ in range(STEPS):
            for crew in crews:
                crew.take_step()

    return steps


def trainers(settings: dict[str, Any], outer: int, inner: int, count: int) -> list[Trainer]:
    """So many runs of the five estimators in turn, with outer x inner samples."""
    total = outer * inner
    table = [
        ("vae", total, 1),
        ("iwae", 1, total),
        ("miwae", outer, inner),
        ("piwae", outer, inner),
        ("ciwae", 1, total),
    ]
    made = []
    for seed, (name, M, K) in zip(range(count), itertools.cycle(table), strict=False):
        estimator = {"name": name, "M": M, "K": K}
        spec = RunSpec.parse(settings | {"estimator": estimator, "seed": seed, "eval_points": 0}, "benchmark")
        dataset = load(spec.data, None)
        made.append(Trainer(resolve_spec(spec, dataset), dataset, RunDir(Path(tempfile.gettempdir())), device(), None))
    return made
