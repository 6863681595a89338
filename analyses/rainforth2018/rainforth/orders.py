"""The orders that the paper claims, each with an error bar and a verdict."""

import numpy as np
import pandas as pd

from analyses.common.report import Place
from analyses.common.tables import pm
from analyses.rainforth2018.rainforth.runs import Measured, main_runs
from snrkit.runs.orders import Order, decide, pointwise

# Metric to its (larger, smaller).
POINTWISE = {
    "log_p": [("iwae", "vae")],
    "kl_q_p": [("miwae", "vae"), ("iwae", "miwae"), ("iwae", "piwae"), ("piwae", "vae")],
}
SNR = [("vae", "ciwae"), ("ciwae", "miwae"), ("vae", "miwae"), ("miwae", "iwae"), ("ciwae", "iwae")]


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """Every order: the difference by seed, its mean with an error, and the verdict."""
    groups = main_runs(place)
    rows = []
    for metric, claims in POINTWISE.items():
        rows += _rows(metric, [_pointwise(metric, *pair) for pair in _pairs(groups, claims)])
    for metric in ("snr_mean", "snr_pooled"):
        orders = [_snr(metric, *pair) for pair in _pairs(groups, SNR)]
        rows += _rows(f"{metric} of the inference network at the end", orders)
    rows += _rows("active_units", [_active(*pair) for pair in _pairs(groups, [("iwae", "vae")])])
    text = (
        "## Orders\n\nclaimed: A > B, runs of the same seed compared. Difference: mean over seeds. Its error: the spread "
        "between seeds, pooled over the orders of a metric, and what the seeds have in common, the test points (paired for "
        "log p̂ and KL, bootstrap for active units). Draws differ from seed to seed, so the spread holds their error; it is "
        "taken for no less than that. holds, does not hold: at the 95 % level of Student's t, its degrees of freedom those "
        "of the pooled spread, which are few with two seeds; what is small beside it stays undecided."
    )
    return text, pd.DataFrame(rows, columns=["metric", "claimed", "by seed", "difference ± s.e.", "verdict"])


def _pairs(
    groups: dict[str, list[Measured]], claims: list[tuple[str, str]]
) -> list[tuple[list[Measured], list[Measured]]]:
    """For each claim that there are runs for: those of either side, of the same seeds."""
    found = []
    for larger, smaller in claims:
        first, second = ({run.spec.seed: run for run in groups.get(name, [])} for name in (larger, smaller))
        if seeds := sorted(first.keys() & second.keys()):
            found.append(([first[seed] for seed in seeds], [second[seed] for seed in seeds]))
    return found


def _pointwise(metric: str, first: list[Measured], second: list[Measured]) -> Order:
    values = (np.array([run.points[metric].to_numpy() for run in runs]) for runs in (first, second))
    return pointwise(*_names(first, second), *values)


def _snr(metric: str, first: list[Measured], second: list[Measured]) -> Order:
    values, errors = np.array([[run.final_snr(metric) for run in runs] for runs in (first, second)]).transpose(2, 0, 1)
    return Order(*_names(first, second), values[0] - values[1], own=float(np.square(errors).sum(0).mean()))


def _active(first: list[Measured], second: list[Measured]) -> Order:
    rows = [[run.scores.loc["active_units", ["value", "stderr"]] for run in runs] for runs in (first, second)]
    values, errors = np.array(rows, dtype=float).transpose(2, 0, 1)
    return Order(*_names(first, second), values[0] - values[1], shared=float(np.square(errors).sum(0).mean()))


def _names(first: list[Measured], second: list[Measured]) -> tuple[str, str]:
    return first[0].spec.estimator.name, second[0].spec.estimator.name


def _rows(metric: str, orders: list[Order]) -> list[list[str]]:
    return [
        [
            metric, f"{order.larger} > {order.smaller}", ", ".join(f"{value:.3f}" for value in order.seeds),
            pm(found.difference, found.error, 3), found.verdict,
        ]
        for order, found in zip(orders, decide(orders), strict=True)
    ]  # fmt: skip
