"""What is advised on two trained models."""

from pathlib import Path
from typing import Any

import pandas as pd

from snrkit.run import train
from snrkit.specs.run import RunSpec

RUNS = Path(__file__).parent.parent / "runs"
BUDGET = 64
TRAIN: dict[str, dict[str, Any]] = {
    "digits": {
        "data": {"name": "digits"}, "model": {"options": {"hidden": [64, 64], "latent": 16}},
        "epochs": 40, "batch_size": 100,
    },
    "mnist": {"data": {"name": "mnist"}, "epochs": 3},
}  # fmt: skip


def run(settings: dict[str, Any]) -> tuple[str, pd.DataFrame]:
    """Train, then ask."""
    parts, tables = ["## Advice\n"], []
    for data, trained in TRAIN.items():
        spec = RunSpec.parse(trained | {"estimator": {"name": "iwae", "K": 64}}, "the settings")
        own = train(spec, RUNS / data, resume=True)
        advice = own.advise(BUDGET, draws=settings["advise"]["draws"])
        advice.save()
        rows = advice.recommendations.itertuples()
        said = [f"- {row.goal}: {f'{row.setting}, since ' if row.setting else ''}{row.reason}" for row in rows]
        about = f"{data}, {spec.epochs} epochs of iwae with K = 64, T = {BUDGET}, {advice.about['draws']} draws"
        parts.append(f"{about}:\n\n" + "\n".join(said) + "\n")
        tables.append(advice.table.assign(model=data))
    return "\n".join(parts), pd.concat(tables, ignore_index=True)
