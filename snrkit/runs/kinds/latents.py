"""Means of the latent variables, E_q[z|x], of every test point."""

import dataclasses

from snrkit.runs.kinds.base import RUN, count, number, optional
from snrkit.runs.kinds.parquet import ParquetKind

LATENTS = ParquetKind(
    name="latents",
    pattern="*latents*.parquet",
    columns={
        "layer": count("stochastic layer, from 1 at the data", 1),
        "point": count("number of the test point"),
        "label": dataclasses.replace(count("class of the point, if it has one"), least=-float("inf"), blank=True),
        **RUN,
    },
    remedy="run 'snrkit evaluate --keep-means --ckpt CHECKPOINT' again",
    dimensions=("z", optional(number("the mean in one dimension; NaN in a layer that has fewer"))),
    whole=lambda table: "" if "z1" in table else "columns missing: z1",
)
