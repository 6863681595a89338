"""How far the moments in float32 are from those of the loop in float64, from the same noise."""

import copy
from typing import Any

from torch import Tensor

from analyses.speed.sections.reference import reference
from analyses.speed.sections.sizes import Sizes
from snrkit.core.streams import Streams
from snrkit.diagnostics.engines import ENGINES
from snrkit.diagnostics.engines.base import pass_size
from snrkit.diagnostics.problem import Problem
from snrkit.estimators.base import build_estimator
from snrkit.models.mlp import Mlp


def run(sizes: Sizes) -> tuple[str, list[dict[str, Any]]]:
    """One row per K and engine: the worst tensor, and the worst but one."""
    model, x = reference()
    rows = []
    for K, draws in sizes.exact.items():
        exact = _moments(copy.deepcopy(model).double(), x.double(), "loop", K, draws)
        for engine in ("loop", "factors"):
            found = _moments(model, x, engine, K, draws)
            distances = {
                name: float((found[name].double() - exact[name]).norm() / exact[name].norm()) for name in exact
            }
            (second, _), (worst, _) = sorted(distances.items(), key=lambda item: item[1])[-2:]
            rows.append(
                {"K": K, "engine": engine, "worst": worst, "distance": f"{distances[worst]:.1e}",
                 "next": second, "its distance": f"{distances[second]:.1e}"}
            )  # fmt: skip
    text = (
        "Relative distance in norm, per tensor, of means and of sums of squared deviations in float32 from those of the\n"
        "loop in float64. Where the loop itself is far off, as for a bias whose gradient hardly varies, float32 cannot say."
    )
    return text, rows


def _moments(model: Mlp, x: Tensor, engine: str, K: int, draws: int) -> dict[str, Tensor]:
    problem, estimator = Problem.units(model, x, K, Streams(0)), build_estimator("iwae", {})
    found = ENGINES.load(engine)().moments(
        problem, estimator, range(1), range(draws), pass_size(problem, estimator, None)
    )
    names = problem.layout.names
    means = {f"mean {name}": value for name, value in zip(names, found.mean, strict=True)}
    return means | {f"m2 {name}": value for name, value in zip(names, found.m2, strict=True)}
