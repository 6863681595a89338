"""Inference SNR against beta, exact for every beta from the moments of the two parts."""

import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import opened_run
from analyses.mcharrak2021.mcharrak.runs import ESTIMATORS, obtain
from snrkit.diagnostics.beta_curve import BetaCurve, beta_curve

METRICS = ("snr_mean", "snr_median", "snr_pooled", "mean_norm", "cosine")


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """The curve at a model as initialised and at two trained ones."""
    own = place.settings["beta_curve"]
    tables, notes, data = [], [], ""
    for name, estimator, changes in (
        ("as initialised", "iwae", {"epochs": 0}),
        ("after IWAE", "iwae", {}),
        ("after CIWAE(0.5)", "ciwae", {}),
    ):
        opened = opened_run(obtain(place, ESTIMATORS[estimator], **changes)[0])
        x, data = opened.points(own["points"])
        curve = beta_curve(opened.model, x, own["K"], own["beta"], draws=own["draws"])
        tables.append(_wide(curve).assign(model=name))
        best = f"highest snr_pooled at beta = {curve.best:g}"
        notes.append(f"- {name}: {'; '.join([best, *curve.remarks])}.")
    text = (
        f"## SNR against beta\n\nM = 1, K = {own['K']}, {own['draws']} draws on {data}. The variance is a quadratic in beta "
        "through its values at 0, 1/2 and 1, the mean a line. cosine: between E[g] at this beta and at 0. The highest SNR "
        "is not the best bound.\n\n" + "\n".join(notes)
    )
    table = pd.concat(tables, ignore_index=True)
    return text, table[["model", *(column for column in table.columns if column != "model")]]


def _wide(curve: BetaCurve) -> pd.DataFrame:
    """One row per beta: each metric and its standard error."""
    found = curve.table[curve.table.metric.isin(METRICS)].pivot(
        index="beta", columns="metric", values=["value", "stderr"]
    )
    columns = {
        name: found[kind, metric]
        for metric in METRICS
        for kind, name in (("value", metric), ("stderr", f"{metric} se"))
    }
    return pd.DataFrame(columns).reset_index()
