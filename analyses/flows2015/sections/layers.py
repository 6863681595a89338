"""The bound and log p^ of the image model against the number of layers, seed by seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analyses.common.report import Place
from analyses.common.runs import evaluated, spec_of, trained_together
from snrkit.runs.folder import RunDir
from snrkit.runs.orders import decide, pointwise
from snrkit.specs.run import RunSpec

METRICS = {"elbo": "bound", "log_p": "log p̂"}
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Cell:
    """The runs of one flow, a seed each."""

    label: str
    specs: tuple[RunSpec, ...]
    runs: tuple[RunDir, ...]


def cells(place: Place, seeds: list[int]) -> list[Cell]:
    """Trained, in the order of the settings, without a flow first."""
    own = place.settings["layers"]
    flows = [
        ("none", {"layers": 0}),
        *((f"{k} {n}", {"kind": k, "layers": n}) for k in own["kinds"] for n in own["layers"]),
    ]
    found = []
    for label, options in flows:
        model = {"name": "flow", "options": own["options"] | options}
        specs = tuple(spec_of(place.settings["run"], {"model": model}, seed) for seed in seeds)
        found.append(Cell(label, specs, tuple(trained_together(specs, place))))
    return found


def run(place: Place) -> tuple[str, pd.DataFrame]:
    """Levels, and what every flow gains on the model without one."""
    own = place.settings["layers"]
    known = cells(place, own["seeds"])
    values = {cell.label: _values(cell, own) for cell in known}
    plain = values["none"]
    gains = {
        metric: decide([pointwise(cell.label, "none", values[cell.label][metric], plain[metric]) for cell in known[1:]])
        for metric in METRICS
    }
    rows = []
    for number, cell in enumerate(known):
        row: dict[str, Any] = {"layers": cell.label}
        for metric, name in METRICS.items():
            seeds = values[cell.label][metric].mean(1)
            row |= {name: seeds.mean(), f"{name} se": seeds.std(ddof=1) / len(seeds) ** 0.5}
        for metric, name in METRICS.items() if number else ():
            gain = gains[metric][number - 1]
            row |= {f"gain in {name}": gain.difference, f"gain in {name} se": gain.error, f"{name} rises": gain.verdict}
        rows.append(row)
    each = [
        {"layers": label, "seed": seed, **{METRICS[metric]: found[metric][at].mean() for metric in METRICS}}
        for label, found in values.items()
        for at, seed in enumerate(own["seeds"])
    ]
    table = pd.DataFrame(rows)
    verdicts = ["bound rises", "log p̂ rises"]
    table[verdicts] = table[verdicts].fillna("")
    pd.DataFrame(each).to_csv(place.results / "layers_seeds.csv", index=False)
    return _text(known, own, table), table


def _values(cell: Cell, own: dict[str, Any]) -> dict[str, Array]:
    """By metric ``[seeds, points]``."""
    found = [evaluated(run, own["samples"], own["points"])[1] for run in cell.runs]
    return {metric: np.stack([points[metric].to_numpy(float) for points in found]) for metric in METRICS}


def _text(known: list[Cell], own: dict[str, Any], table: pd.DataFrame) -> str:
    shown = int((table["log p̂ rises"] == "holds").sum())
    said = "No flow's log p̂ is shown to be above that of the plain normal" if not shown else (
        f"log p̂ is shown to rise with {shown} of {len(table) - 1} flows"
    )  # fmt: skip
    spec = known[0].specs[0]
    return (
        "## Layers on the digits\n\n"
        f"{spec.data.name}, dynamic binarisation, model flow with {_options(own)}, {spec.epochs} epochs, batch "
        f"{spec.batch_size}, trained with {spec.estimator.name}, one sample. Test points: {own['points']}, the same for "
        f"all, {own['samples']} samples for log p̂. Levels in nats, mean over {len(own['seeds'])} seeds ± its standard error "
        "(single seeds: `layers_seeds.csv`). Gains over the model without layers of the same seed; their standard error is "
        'from the spread between seeds, pooled over the rows, and from the points. "holds": above 0 at the 95 % level of '
        f"Student's t. **{said}.**"
    )


def _options(own: dict[str, Any]) -> str:
    """The options that all models share, in words."""
    return ", ".join(f"{name} {value}" for name, value in own["options"].items())
