"""SNR of the inference network along training, at the ends of the stages of the schedule."""

import pandas as pd

from analyses.common.report import Place
from analyses.rainforth2018.rainforth.runs import main_runs


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """snr_mean and snr_pooled of each run at each step measured, and the followed bound there."""
    rows = []
    for runs in main_runs(place).values():
        for measured in runs:
            followed = {row["step"]: row.get("test_iwae64", float("nan")) for row in measured.run.read_metrics()}
            for step, table in measured.snr.groupby("step"):
                found = table.set_index("metric")
                mean, pooled = found.loc["snr_mean"], found.loc["snr_pooled"]
                rows.append([
                    measured.name, measured.spec.seed, step, mean.value, mean.stderr, mean.floor, pooled.value,
                    pooled.stderr, followed.get(step, float("nan")),
                ])  # fmt: skip
    text = "## SNR along training\n\nInference network, at each estimator's own (M, K); floor: what noise reads in snr_mean."
    columns = [
        "estimator (M, K)",
        "seed",
        "step",
        "snr_mean",
        "stderr",
        "floor",
        "snr_pooled",
        "pooled stderr",
        "IWAE-64",
    ]
    return text, pd.DataFrame(rows, columns=columns)
