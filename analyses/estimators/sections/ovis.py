"""Figure 1 of Liévin et al. 2020: SNR of b against K, with the scale that their code has and the right one."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analyses.estimators.sections.rows import Sums, Toy, instance, moments
from snrkit.estimators.base import Estimator, build_estimator

# Read off the released picture .assets/asymptotic-gradients-extended.png by eye, K = 3, 12, 54, 234, 1000.
PUBLISHED = {
    "iwae": (1.25, 0.72, 0.36, 0.19, 0.09),
    "ovis-tilde gamma=0": (2.2, 3.8, 5.6, 8.3, 12.5),
    "ovis-tilde gamma=1": (3.2, 6.8, 14, 28, 58),
    "stl": (4.8, 7.5, 16, 33, 62),
    "dreg": (3.4, 4.2, 7, 13.5, 27),
}
ESTIMATORS = {
    "iwae": build_estimator("iwae", {}),
    "ovis-tilde gamma=0": build_estimator("ovis-tilde", {"gamma": 0}),
    "ovis-tilde gamma=1": build_estimator("ovis-tilde", {"gamma": 1}),
    "stl": build_estimator("stl", {}),
    "dreg": build_estimator("dreg", {}),
}
THEIRS = 2 / 3


def run(settings: dict[str, Any]) -> tuple[str, Mapping[str, pd.DataFrame]]:
    """One row per estimator and system, one column per K; and how the variance goes on growing with the draws."""
    own = settings["ovis"]
    right = instance(settings["dim"], own["points"], own["perturb"], settings["seed"])
    theirs = dataclasses.replace(right, scale=THEIRS)
    systems = {
        "variance 2/3": (right, list(ESTIMATORS)),
        "sd 2/3": (theirs, list(ESTIMATORS)),
        "sd 2/3, density of sd 1": (dataclasses.replace(theirs, faulty=True), ["stl", "dreg"]),
    }
    rows = [
        {"estimator": name, "system": "published, by eye"} | _named(own["K"], PUBLISHED[name]) for name in ESTIMATORS
    ]
    for system, (toy, names) in systems.items():
        print(f"  {system} ...", flush=True)
        found = _levels(toy, names, settings)
        rows += [{"estimator": name, "system": system} | _named(own["K"], found[name]) for name in names]
    order = list(ESTIMATORS)
    table = pd.DataFrame(sorted(rows, key=lambda row: order.index(row["estimator"])))
    floors = ", ".join(f"{math.sqrt(2 / math.pi / draws):.2f}" for draws in own["draws"])
    text = (
        "## Figure 1 of Liévin et al. 2020 (OVIS)\n\nSNR of b, mean of ratios over its coordinates, "
        f"{own['points']} data points, all parameters off their optimum by noise of {own['perturb']}, one instance. "
        "Their proposal has a standard deviation of 2/3 where the optimum of the bound for K = 1 has a variance of 2/3, and "
        "in two of the curves the density has a standard deviation of 1 whatever the samples have. The mean of `iwae` is "
        f"`dreg`'s. Draws at each K: {', '.join(map(str, own['draws']))}, of which noise alone reads {floors}. Levels "
        "depend on the instance; the order, the slopes and which system the picture shows do not. Where the proposal is "
        "narrower than the posterior, weights have heavy tails: the variance of `ovis-tilde` at gamma = 0 wanders with the "
        "draws (second table), that of gamma = 1 stands still. That may be part of why ours at gamma = 0 lies above the "
        "picture at large K; it is not settled here."
    )
    return text, {"": table, "_tails": _tails(theirs, own["tails"], settings)}


def _tails(toy: Toy, own: dict[str, Any], settings: dict[str, Any]) -> pd.DataFrame:
    """SNR and variance of the two OVIS gradients at one K from more and more draws."""
    few, names = dataclasses.replace(toy, x=toy.x[: own["points"]]), ["ovis-tilde gamma=0", "ovis-tilde gamma=1"]
    rows = []
    for draws in own["draws"]:
        chosen = [ESTIMATORS[name] for name in names]
        sums = moments(few, chosen, own["K"], draws, settings["seed"], most=settings["pass"], blocks=1)
        for name in names:
            mean, variance, _ = sums[ESTIMATORS[name]]["inference"].of()
            snr = float((mean.abs() / variance.sqrt()).mean())
            rows.append(
                {"estimator": name, "K": own["K"], "draws": draws, "SNR": snr, "variance": float(variance.sum())}
            )
    return pd.DataFrame(sorted(rows, key=lambda row: names.index(row["estimator"])))


def _named(K: list[int], values: Any) -> dict[str, float]:
    return {f"K={k}": float(value) for k, value in zip(K, values, strict=True)}


def _levels(toy: Toy, names: list[str], settings: dict[str, Any]) -> dict[str, list[float]]:
    own, chosen = settings["ovis"], [ESTIMATORS[name] for name in names]
    found: dict[str, list[float]] = {name: [] for name in names}
    for K, draws in zip(own["K"], own["draws"], strict=True):
        sums = moments(toy, chosen, K, draws, settings["seed"], most=settings["pass"], blocks=1)
        of: dict[Estimator, Sums] = {estimator: both["inference"] for estimator, both in sums.items()}
        for name in names:
            lender = "dreg" if name == "iwae" else name
            mean, variance = of[ESTIMATORS[lender]].of()[0], of[ESTIMATORS[name]].of()[1]
            found[name].append(float((mean.abs() / variance.sqrt()).mean()))
    return found
