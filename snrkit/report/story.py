"""What the result files say, in sentences: no claim without its numbers, and none that the intervals do not carry."""

from typing import Any

import numpy as np
import pandas as pd

from snrkit.report.blocks import NETWORKS, told
from snrkit.report.collect import Tables
from snrkit.report.drawing import Sheet
from snrkit.report.lines import joined, latest
from snrkit.report.naming import names
from snrkit.report.repetitions import last_evaluations, own_data, settings
from snrkit.report.style import estimator_label
from snrkit.report.tables import Cell, Column, rounded, sheet
from snrkit.report.trained import TRAINED

# Things that a sentence may list.
_MOST = 8


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
    """A sentence for each test set of data like those trained on."""
    rows = evaluations[evaluations["metric"] == "kl_q_p"]
    rows = rows[np.isfinite(rows["value"].astype(float))]
    if rows.empty:
        return []
    found = settings(own_data(last_evaluations(rows)), ["data", "metric"])
    return [
        f"How loose the 64-sample bound still is on {data}, KL(Q‖P) in nats (0 would be a perfect proposal), smallest "
        f"first: {_looseness(own.sort_values('value', kind='stable'))}."
        for data, own in found.groupby("data", sort=False)
    ]


def _looseness(rows: pd.DataFrame) -> str:
    keys = [row for _, row in rows.iterrows()]
    texts = [
        f"{name or key['called']} {' ± '.join(part for part in rounded(float(key['value']), float(key['stderr'])) if part)}"
        for name, key in zip(names(keys, ["M", "K", "model"]), keys, strict=True)
    ]
    over = len(texts) - _MOST
    return "; ".join(texts if over <= 0 else [*texts[: _MOST - 1], f"… ({over} more in the table below)", texts[-1]])


def _gradients(readings: pd.DataFrame, slopes: pd.DataFrame) -> list[str]:
    sentences = []
    rows = told(latest(readings[readings["metric"] == "snr_mean"]))
    known = rows[np.isfinite(rows["value"].astype(float)) & (rows["floor"] > 0)]
    if len(known):
        weak = known[known["ci_low"] <= known["floor"]]
        places = joined(
            f"{estimator_label(row['estimator'], row['options'])} at M = {row['M']}, K = {row['K']} ({row['block']})"
            for row in weak.drop_duplicates(["estimator", "options", "M", "K", "block"]).to_dict("records")[:_MOST]
        )
        count = f"{len(weak)} of {len(known)}" if len(weak) else f"None of the {len(known)}"
        where = f": {places}{', …' if len(weak) > _MOST else ''}" if len(weak) else ""
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
        f"{own['called'].iloc[0]}, {answer['goal']}: "
        f"{answer['setting'] + ', since ' if answer['setting'] else ''}{answer['reason']}."
        for _, own in found.groupby("source", sort=False)
        for answer in own["reasons"].iloc[0]
    ]
