"""Table 1: bounds and KL of the five estimators, beside the published ones."""

from pathlib import Path

import numpy as np
import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import describe
from analyses.common.tables import pm
from analyses.rainforth2018.rainforth.runs import Measured, main_runs

PUBLISHED = Path(__file__).parents[1] / "rainforth2018.published.csv"
METRICS = ("iwae_64", "log_p", "kl_q_p", "ess_64", "active_units", "ssim")
SHORT = {"iwae_64": "IWAE-64", "log_p": "log p̂", "kl_q_p": "KL(Q‖P)", "ess_64": "ESS of 64"}


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """Each metric of each estimator: published, ours, spread between seeds."""
    groups = main_runs(place)
    published = pd.read_csv(PUBLISHED).set_index(["estimator", "metric"])
    rows = []
    for metric in METRICS:
        for estimator, runs in groups.items():
            values = [run.scores.loc[metric] for run in runs if metric in run.scores.index]
            if values:
                rows.append(
                    [SHORT.get(metric, metric), runs[0].name, _known(published, estimator, metric), *_ours(values)]
                )
    for metric in ("snr_mean", "snr_pooled"):
        for estimator, runs in groups.items():
            value, error = _average([run.final_snr(metric) for run in runs])
            spread = _spread([run.final_snr(metric)[0] for run in runs])
            rows.append([metric, runs[0].name, _known(published, estimator, metric), pm(value, error, 3), spread])
    columns = ["metric", "estimator (M, K)", "published", "ours ± s.e.", "sd seeds"]
    return _text(groups), pd.DataFrame(rows, columns=columns)


def _known(published: pd.DataFrame, estimator: str, metric: str) -> str:
    if (estimator, metric) not in published.index:
        return ""
    row = published.loc[(estimator, metric)]
    return pm(float(row.value), float(row.error))


def _ours(values: list[pd.Series]) -> list[object]:
    """The mean over seeds with the error over points (the same points for all seeds), and the spread between seeds."""
    value, error = _average([(row.value, row.stderr) for row in values])
    # Points are shared by the seeds, so their errors do not average out.
    return [
        pm(value, float(np.mean([row.stderr for row in values])) if error else error, 3),
        _spread([r.value for r in values]),
    ]


def _average(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    values, errors = np.array(pairs, dtype=float).T
    return float(values.mean()), float(np.sqrt(np.square(errors).sum()) / len(errors))


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _text(groups: dict[str, list[Measured]]) -> str:
    runs = [run for group in groups.values() for run in group]
    first = runs[0]
    return (
        f"## Table 1\n\n{describe([run.spec for run in runs])}. {first.scores.loc['log_p'].definition}; test points "
        f"{first.points.data.iloc[0]}; SNR of the inference network's gradient on "
        f"{first.snr.data.iloc[0]}, at each estimator's own (M, K), {int(first.snr.draws.iloc[0] / first.spec.estimator.M)} "
        f"draws, where noise reads {first.snr[first.snr.metric == 'snr_mean'].floor.iloc[-1]:.3f} in snr_mean. Published: "
        "± sd over 4 runs of 3,280 epochs; SNR levels read off a figure, its number of draws and points not known."
    )
