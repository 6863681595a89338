"""Training steps of several runs, one by one and side by side as one ensemble."""

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from analyses.speed.sections.crews import estimators, random_bytes, steps, trainer
from analyses.speed.sections.sizes import Sizes
from analyses.speed.sections.timing import interleaved
from snrkit.data.base import Dataset
from snrkit.training.ensemble import Ensemble

ALL = ("vae", "iwae", "miwae", "piwae", "ciwae")
ONE_PASS = ("vae", "iwae", "miwae", "ciwae")
TINY = {"model": {"options": {"hidden": [16], "latent": 3}}}
PAPERS = "28 x 28, 200-200 hidden units, T = 64"
# No row is begun after so long, seconds.
WITHIN_S = 80.0


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row per set-up."""
    text = (
        "Milliseconds per step of all runs: the named estimators in turn, one by one, and as one batched ensemble\n"
        "(`snrkit sweep --ensemble N`). PIWAE takes a second pass back."
    )
    return text, _on_cuda(sizes) if torch.cuda.is_available() else _on_cpu(sizes)


def _on_cpu(sizes: Sizes) -> list[dict[str, Any]]:
    small = random_bytes(10_000, side=8)
    tiny = [_row("8 x 8, 16 hidden units, T = 8", small, ALL, (2, 4), n, sizes, TINY) for n in (*sizes.runs, 20)]
    return [*tiny, _row(PAPERS, random_bytes(10_000), ALL, (8, 8), min(sizes.runs), sizes, {})]


def _on_cuda(sizes: Sizes) -> list[dict[str, Any]]:
    """Without runs one by one, which take a GPU long and are timed elsewhere; as many rows as there is time for."""
    dataset, rows, start = random_bytes(60_000), [], time.perf_counter()
    for names, count, precision in itertools.product((ONE_PASS, ALL), sizes.runs, ("tf32", "float32")):
        if not rows or time.perf_counter() - start < WITHIN_S:
            settings = {"precision": precision}
            rows.append(_row(PAPERS, dataset, names, (8, 8), count, sizes, settings, one_by_one=False))
    return rows


def _row(
    title: str, dataset: Dataset, names: Sequence[str], shape: tuple[int, int], count: int, sizes: Sizes,
    settings: dict[str, Any], *, one_by_one: bool = True,
) -> dict[str, Any]:  # fmt: skip
    asked = list(enumerate(estimators(names, *shape, count)))
    together = Ensemble([trainer(own, dataset, seed, **settings) for seed, own in asked], Path("unused"))
    alone = [trainer(own, dataset, seed, **settings) for seed, own in asked] if one_by_one else []
    for crew in (together, *alone):
        crew.begin_epoch()
    calls = {"joint": (steps([together], sizes.steps), sizes.steps)}
    if alone:
        calls["alone"] = steps(alone, sizes.steps), sizes.steps
    timing = interleaved(calls, sizes.row_s)
    joint = timing["joint"].median
    apart = timing["alone"].median if alone else float("nan")
    return {
        "what": title, "precision": settings.get("precision", "float32"), "estimators": " ".join(names), "runs": count,
        "one by one, ms": apart, "ensemble, ms": joint, "ratio": apart / joint,
        "rounds": timing["joint"].rounds, "rounds repeated": timing["joint"].repeated,
    }  # fmt: skip
