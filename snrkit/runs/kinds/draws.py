"""Draws of chosen coordinates of the gradient, one row per draw."""

from snrkit.runs.kinds.base import HOW, NOISE, RUN, SETTING, count, name, number, optional
from snrkit.runs.kinds.earlier import drawn_as
from snrkit.runs.kinds.parquet import ParquetKind

DRAWS = ParquetKind(
    name="draws",
    pattern="*.draws.parquet",
    columns={
        **RUN,
        **NOISE,
        **SETTING,
        "coordinate": name("tensor[index]"),
        "draw": optional(count("number of the draw")),
        "value": number("the minibatch gradient's coordinate (ascent direction)"),
        **HOW,
    },
    remedy="delete it and make it again",
    key=("run", "step", "data", "estimator", "options", "M", "K", "coordinate", "draw", "seed", "method"),
    version=2,
    later=drawn_as,
)
