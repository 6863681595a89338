"""The rows in 20 dimensions that Daudel et al. 2023 published of the VR-IWAE bound, beside ours."""

import math
from typing import Any

import numpy as np
import pandas as pd

from analyses.estimators.sections.rows import Found, instance, moments
from snrkit.core.objective import NETWORKS, Network
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.types import Array

# (perturbation, gradient, alpha) -> SNR of phi, then of theta, at K = 2, 16, 128, 512, means over ten runs of one
# coordinate each, from the pickles that were released; those of theta are the same for both gradients.
PUBLISHED: dict[tuple[float, int, float], tuple[tuple[float, ...], tuple[float, ...] | None]] = {
    (0.01, 0, 0.0): ((0.289, 0.101, 0.0425, 0.0262), (0.622, 0.886, 2.27, 4.50)),
    (0.01, 0, 0.5): ((0.397, 0.738, 1.95, 3.84), (0.762, 1.71, 4.71, 9.50)),
    (0.01, 1, 0.0): ((1.56, 2.56, 6.63, 13.1), None),
    (0.01, 1, 0.5): ((1.98, 5.48, 15.4, 30.6), None),
    (0.5, 0, 0.0): ((18.2, 16.0, 14.2, 12.8), (32.6, 32.2, 32.5, 31.8)),
    (0.5, 1, 0.0): ((60.3, 41.3, 31.7, 27.7), None),
}
_WORDS = {0: "plain", 1: "detached"}


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """Mean over instances, with the standard error over them."""
    own = settings["vr"]
    rows = []
    for perturb in own["perturb"]:
        kinds = {
            key: build_estimator("vr-iwae", {"alpha": key[2], "detached": key[1]})
            for key in PUBLISHED
            if key[0] == perturb
        }
        found: dict[tuple[Estimator, Network], list[list[float]]] = {}
        for seed in range(own["instances"]):
            print(f"  perturbation {perturb}, instance {seed} ...", flush=True)
            toy = instance(settings["dim"], own["points"], perturb, seed, diagonal=True, centred=True)
            levels: dict[tuple[Estimator, Network], list[float]] = {}
            for K, draws in zip(own["K"], own["draws"], strict=True):
                sums = moments(toy, kinds.values(), K, draws, seed, most=settings["pass"], blocks=1)
                for estimator in kinds.values():
                    for network in NETWORKS:
                        levels.setdefault((estimator, network), []).append(_level(sums, estimator, network))
            for key, values in levels.items():
                found.setdefault(key, []).append(values)
        for key, estimator in kinds.items():
            for network, published in zip(NETWORKS, PUBLISHED[key], strict=True):
                if published is not None:
                    rows.append(_row(key, network, own["K"], np.array(found[estimator, network]), np.array(published)))
    text = (
        f"## VR-IWAE (Daudel et al. 2023)\n\nd = 20, data from N(0, 2 I), only the diagonal of A perturbed, mean over "
        f"{own['instances']} instances of all coordinates of b (inference) or mu (generative) ± the error over instances; "
        "slopes over these four K. Published: means over ten single coordinates of ten instances, of A and b for the "
        "inference network, uncertain by a quarter, slopes over nine K from 2 to 512; their generative level is 1.3 to 1.5 "
        "times the expectation by chance of the coordinates. 0.0262 is noise (1,000 draws). The mean of a plain gradient "
        f"of the inference network is that of the detached one. Draws: {', '.join(map(str, own['draws']))}."
    )
    return text, pd.DataFrame(rows)


def _level(sums: Found, estimator: Estimator, network: Network) -> float:
    """Mean of ratios; the mean of a plain gradient in phi is lent by the detached one of its order."""
    same = [other for other in sums if (other.same_bound or other) == (estimator.same_bound or estimator)]
    lender = max(same, key=lambda other: other.needs.path)
    mean, variance = sums[lender][network].of()[0], sums[estimator][network].of()[1]
    return float((mean.abs() / variance.sqrt()).mean())


def _row(
    key: tuple[float, int, float], network: Network, K: list[int], ours: Array, published: Array
) -> dict[str, Any]:
    perturb, detached, alpha = key
    row: dict[str, Any] = {"perturbation": perturb, "gradient": _WORDS[detached], "alpha": alpha, "network": network}
    for place, k in enumerate(K):
        row |= {f"K={k}": ours[:, place].mean(), f"K={k} se": ours[:, place].std(ddof=1) / math.sqrt(len(ours))}
        row[f"published {k}"] = published[place]
    row["slope"], row["published slope"] = _slope(K, ours.mean(axis=0)), _slope(K, published)
    return row


def _slope(K: list[int], values: Array) -> float:
    return float(np.polyfit(np.log(K), np.log(values), 1)[0])
