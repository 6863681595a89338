"""Scores of a trained model on test points: bounds, KL, ESS, active units, SSIM."""

import dataclasses
import re
from typing import TYPE_CHECKING, Any

from snrkit.runs.kinds.base import RUN, Column, count, name, number, optional, since, text
from snrkit.runs.kinds.earlier import data_of
from snrkit.runs.kinds.record import JsonKind

if TYPE_CHECKING:
    import pandas as pd


def _of_layers(meaning: str) -> Column:
    return since(2, dataclasses.replace(count(meaning), blank=True))


def _later(table: "pd.DataFrame") -> dict[str, Any]:
    """What evaluations of schema 1 say in the label of the data, and in the name and definition of a count of units.

    How many threads they took no schema before 3 says.
    """
    import pandas as pd

    labels = [data_of(str(label)) for label in table["data"]]
    layers = [re.fullmatch(r"active_units(?:_(\d+))?", str(metric)) for metric in table["metric"]]
    sizes = [re.search(r"dimensions of (\d+)", str(definition)) for definition in table["definition"]]
    return {name: [label[name] for label in labels] for name in DATA} | {
        "threads": 0,
        "layer": pd.array([found and int(found[1] or 0) for found in layers], "Int64"),
        "dimensions": pd.array([int(s[1]) if f and s else None for f, s in zip(layers, sizes, strict=True)], "Int64"),
    }


DATA = {
    "data_name": since(2, text("registered name of the data's source")),
    "data_title": since(2, text("what the data are called: the name, and which file it is where that does not say it")),
    "part": since(2, text("which points of them, e.g. 'test[0:300]'")),
    "binarised": since(2, text("how they were made binary")),
}
EVALUATION = JsonKind(
    name="evaluations",
    pattern="*evaluation*.json",
    columns={
        "metric": name("what was evaluated"),
        "value": number("an average over the points, unless the definition says otherwise"),
        "stderr": number("its standard error over the points", 0.0),
        "sd": optional(number("standard deviation over the points; null of what is no average", 0.0)),
        "definition": text("what it is, with units"),
        "run": optional(RUN["run"]),
        "step": RUN["step"],
        "data": RUN["data"],
        "trained_on": optional(text("registered name of the source of the data that the run was trained on")),
        "points": count("number of test points", 1),
        "samples": count("importance samples per point behind log p(x)", 1),
        "seed": optional(count("root seed of the noise")),
        "seconds": optional(number("wall time", 0.0)),
        "threads": since(
            3,
            count("threads of the processor that scored the points, on which last bits depend; 0 in files from before"),
        ),
        **DATA,
        "layer": _of_layers("stochastic layer, from 1 at the data, 0 of a model with one; null of what is of no layer"),
        "dimensions": _of_layers("latent dimensions of the layer, the most that can be active; null of other metrics"),
    },
    remedy="evaluate again with 'snrkit evaluate'",
    key=("step", "data", "metric"),
    of_run=("config.toml",),
    version=3,
    later=_later,
    noun="an evaluation",
    shared=("run", "step", "data", "trained_on", "points", "samples", "seed", "seconds", "threads", *DATA),
)
