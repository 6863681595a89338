"""What the result files say, in sentences: no claim without its numbers, and none that the intervals do not carry."""

from typing import Any

import numpy as np
import pandas as pd

from snrkit.report.collect import TRAINED, Tables
from snrkit.report.drawing import Sheet
from snrkit.report.lines import joined, latest
from snrkit.report.rates import NETWORKS
from snrkit.report.style import estimator_label
from snrkit.report.tables import Cell, Column, rounded, sheet


def trained(tables: Tables) -> Sheet | None:
    """The runs and what they were trained with; None if there are none."""
    frames = [tables[kind][TRAINED] for kind in ("metrics", "evaluations") if len(tables[kind])]
    if not frames:
        return None
    runs = pd.concat(frames, ignore_index=True).drop_duplicates("folder").to_dict("records")
    columns = [Column(name, name) for name in ("run", "data", "model", "estimator", "M", "K", "seed", "epochs")]
    last = dict(tables["metrics"].groupby("folder")["epoch"].max())
    rows = [
        [Cell(_text(run["run"])), *(Cell(_text(run[key])) for key in ("trained_on", "model")),
         Cell(estimator_label(run["estimator"], run["options"])), *(Cell(_text(run[key])) for key in ("M", "K", "seed")),
         Cell(_text(last.get(run["folder"])))]
        for run in runs
    ]  # fmt: skip
    return sheet(columns, rows, "Runs", [])


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)


def story(tables: Tables) -> dict[str, list[str]]:
    """Sentences by section."""
    return {"bound": _bound(tables["evaluations"]), "gradients": _gradients(tables["snr"], tables["slopes"])}


def _bound(evaluations: pd.DataFrame) -> list[str]:
    rows = evaluations[evaluations["metric"] == "kl_q_p"] if len(evaluations) else evaluations
    if rows.empty:
        return []
    rows = rows[rows["step"] == rows.groupby("folder")["step"].transform("max")]
    found = [
        f"{row['run']}: {' ± '.join(rounded(float(row['value']), float(row['stderr'])))}"
        for row in rows.drop_duplicates(["folder", "data"]).to_dict("records")
    ]
    return [
        "How loose the 64-sample bound still is, KL(Q‖P) in nats (0 would be a perfect proposal): "
        + "; ".join(found)
        + "."
    ]


def _gradients(readings: pd.DataFrame, slopes: pd.DataFrame) -> list[str]:
    sentences = []
    rows = latest(readings[(readings["metric"] == "snr_mean") & readings["block"].isin(NETWORKS)])
    known = rows[np.isfinite(rows["value"].astype(float)) & (rows["floor"] > 0)]
    if len(known):
        weak = known[known["ci_low"] <= known["floor"]]
        places = joined(
            f"{estimator_label(row['estimator'], row['options'])} at M = {row['M']}, K = {row['K']} ({row['block']})"
            for row in weak.drop_duplicates(["estimator", "options", "M", "K", "block"]).to_dict("records")[:8]
        )
        count = f"{len(weak)} of {len(known)}" if len(weak) else f"None of the {len(known)}"
        where = f": {places}{', …' if len(weak) > 8 else ''}" if len(weak) else ""
        sentences.append(f"{count} readings of SNR cannot be told from pure noise{where}.")
    if len(slopes):
        verdicts = latest(slopes[slopes["block"].isin(NETWORKS)])["verdict"].value_counts()
        counts = "; ".join(f"{count} × {verdict}" for verdict, count in verdicts.items())
        sentences.append(f"Fitted slopes of log SNR beside theory's: {counts} (table below).")
    return sentences


def advice(tables: Tables) -> list[str]:
    """What ``snrkit advise`` recommends, by run and goal."""
    found = tables["advice"]
    return [
        f"{own['run'].iloc[0]}, {answer['goal']}: "
        f"{answer['setting'] + ', since ' if answer['setting'] else ''}{answer['reason']}."
        for _, own in found.groupby("source", sort=False)
        for answer in own["reasons"].iloc[0]
    ]
