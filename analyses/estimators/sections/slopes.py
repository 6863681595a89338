"""Rates of every registered estimator in K, fitted near the optimum, beside what each declares."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analyses.estimators.sections.rows import Found, Sums, instance, moments
from snrkit.core.objective import NETWORKS, Network
from snrkit.diagnostics.intervals import jackknife_stderr
from snrkit.diagnostics.slopes import fit
from snrkit.estimators import ESTIMATORS
from snrkit.estimators.base import Estimator, build_estimator
from snrkit.types import Array

# Options beside the defaults, where they have other rates or these K need them; none: the same at M = 1 as another.
OPTIONS: Mapping[str, list[dict[str, float]]] = {
    "miwae": [],
    "piwae": [],
    "vr-iwae": [{"alpha": 0.5}, {"alpha": 0.5, "detached": 1}],
    "jvi": [{}, {"dreg": 1}],
    "u-statistic": [{"inner": 2}, {"inner": 10}],
    "vae-annealed": [{"kl": 0.5}],
    "vimco": [{"geometric": 1}, {"geometric": 0}],
    "ovis-tilde": [{"gamma": 0}, {"gamma": 1}],
    "ovis-mc": [{"S": 1}, {"S": 5}],
    "rws": [{}, {"sleep": 0.5}],
    "tvo": [{"intervals": 2, "first": 0.3}, {"intervals": 5, "first": 0.05}],
}
# How far a fitted rate may be from the declared one; the rate of -3/2 is reached later.
ALLOWED = {-1.5: 0.08}
ALLOWED_ELSE = 0.05
# A variance of less than this share of the square of the mean is rounding.
_ROUNDING = 1e-12


def cases() -> list[Estimator]:
    """All that are measured."""
    return [build_estimator(name, own) for name in ESTIMATORS.names for own in OPTIONS.get(name, [{}])]


def title(estimator: Estimator) -> str:
    """Its name with its options."""
    return " ".join(filter(None, (estimator.name, estimator.describe())))


def run(settings: dict[str, Any]) -> tuple[str, Mapping[str, pd.DataFrame]]:
    """SNR at each K, fitted rates and declared ones; and those of the norm of the mean and of the variance."""
    own = settings["slopes"]
    toy = instance(settings["dim"], own["data"], own["perturb"], settings["seed"], kept=own["points"])
    by_K: dict[int, Found] = {}
    for K in own["K"]:
        print(f"  K = {K} ...", flush=True)
        by_K[K] = moments(toy, cases(), K, own["draws"], settings["seed"], most=settings["pass"], blocks=own["blocks"])
    tables = {f"_{network}": _table(by_K, network, own) for network in NETWORKS}
    wrong = [
        f"{row.estimator} ({network[1:]})"
        for network, table in tables.items()
        for row in table.itertuples()
        if row.agrees == "no"
    ]
    verdict = f"All {sum(map(len, tables.values()))} rates agree" if not wrong else f"Not so: {', '.join(wrong)}"
    text = (
        f"## Rates in K\n\nOptimum for {own['data']} data points plus noise of {own['perturb']}, the gradient that of "
        f"the first {own['points']} of them by the algebra "
        f"of units, {own['draws']} unit draws, M = 1. `slope`: of log SNR against log K over K = "
        f"{', '.join(map(str, own['fitted']))} ± its jackknife error over {own['blocks']} blocks of draws; `|mean|` and "
        "`variance`: exponents of the norm of the mean and of the trace of the variance. Wanted: the declared rate ± "
        f"{ALLOWED_ELSE}, ± {ALLOWED[-1.5]} where it is -3/2. {verdict}. Noise alone reads "
        f"{math.sqrt(2 / math.pi / own['draws']):.3f}. `u-statistic`, `vae`, `vr-iwae`, `stl`, `rws` and `tvo` have means "
        "that do not vanish with K: their SNRs are no competitors of `dreg`'s, but gradients of other objectives."
    )
    return text, tables


def _table(by_K: dict[int, Found], network: Network, own: dict[str, Any]) -> pd.DataFrame:
    rows = [_row(by_K, estimator, network, own) for estimator in cases()]
    return pd.DataFrame([row for row in rows if row])


def _row(by_K: dict[int, Found], estimator: Estimator, network: Network, own: dict[str, Any]) -> dict[str, Any]:
    theory = (estimator.theory.phi if network == "inference" else estimator.theory.theta)[1]
    lender = _lender(by_K, estimator, network)
    found = {K: _SNR(sums[estimator][network], sums[lender][network], lender is estimator) for K, sums in by_K.items()}
    row: dict[str, Any] = {"estimator": title(estimator)}
    if all(_is_constant(sums[estimator][network]) for sums in by_K.values()):
        return row | {"declared": theory, "agrees": "no noise"}
    row |= {f"K={K}": snr.value() for K, snr in found.items()}
    fitted = {K: found[K] for K in own["fitted"]}
    slope, stderr = _slope({K: snr.all(own["blocks"]) for K, snr in fitted.items()})
    apart = abs(slope - theory)
    row |= {"slope": slope, "slope se": stderr, "declared": theory}
    row |= {"agrees": "yes" if apart <= ALLOWED.get(theory, ALLOWED_ELSE) else "no"}
    row |= {"mean from": "" if lender is estimator else title(lender)}
    row["|mean|"], row["|mean| se"] = _slope({K: snr.norms(own["blocks"]) for K, snr in fitted.items()})
    row["variance"], _ = _slope({K: snr.variances(own["blocks"]) for K, snr in fitted.items()})
    return row


def _is_constant(sums: Sums) -> bool:
    mean, variance, _ = sums.of()
    return float(variance.sum()) < _ROUNDING * float(mean.square().sum())


def _lender(by_K: dict[int, Found], estimator: Estimator, network: Network) -> Estimator:
    """Whose mean stands for that of an estimator whose SNR falls: the least noisy one of the same mean."""
    place = NETWORKS.index(network)
    if (estimator.theory.phi, estimator.theory.theta)[place][1] >= 0:
        return estimator
    same = [
        other for other in cases()
        if (other.same_bound or other) == (estimator.same_bound or estimator) and other.unbiased[place]
    ]  # fmt: skip
    largest = by_K[max(by_K)]
    return min(same, key=lambda other: float(largest[other][network].of()[1].sum()))


class _SNR:
    def __init__(self, own: Sums, lent: Sums, is_own: bool) -> None:
        self._own, self._lent, self._is_own = own, lent, is_own

    def value(self, kept: Sequence[int] | None = None) -> float:
        """Mean of ratios; of a lent mean the pooled one."""
        mean, _, error = self._lent.of(kept)
        _, variance, _ = self._own.of(kept)
        if self._is_own:
            return float((mean.abs() / variance.sqrt()).mean())
        return _root(float((mean.square() - error).sum() / variance.sum()))

    def _each(self, blocks: int) -> list[Sequence[int] | None]:
        """All blocks, then all but one."""
        return [None, *([other for other in range(blocks) if other != one] for one in range(blocks))]

    def all(self, blocks: int) -> Array:
        """The value from all blocks and from all but each."""
        return np.array([self.value(kept) for kept in self._each(blocks)])

    def norms(self, blocks: int) -> Array:
        """Of the mean, debiased, likewise."""
        parts = [self._lent.of(kept) for kept in self._each(blocks)]
        return np.array([_root(float((mean.square() - error).sum())) for mean, _, error in parts])

    def variances(self, blocks: int) -> Array:
        """Traces, likewise."""
        return np.array([float(self._own.of(kept)[1].sum()) for kept in self._each(blocks)])


def _slope(values: Mapping[int, Array]) -> tuple[float, float]:
    logs = np.log(np.stack(list(values.values()), axis=1))
    slopes = fit(np.log(list(values)), logs, np.ones(len(values)))
    return float(slopes[0]), float(jackknife_stderr(slopes[1:]))


def _root(square: float) -> float:
    """NaN of a square that noise has made negative."""
    return math.sqrt(square) if square > 0 else math.nan
