"""Test points beside their reconstructions from q and from q_IW, one row per image."""

from typing import TYPE_CHECKING

from snrkit.runs.kinds.base import RUN, count, name, number, numbers, optional
from snrkit.runs.kinds.images import SIZE, whole_pixels
from snrkit.runs.kinds.parquet import ParquetKind

if TYPE_CHECKING:
    import pandas as pd


def _whole(table: "pd.DataFrame") -> str:
    return whole_pixels(table) or (
        "" if _whole_grid(table) else "rows are missing: every point needs as many images of each kind"
    )


def _whole_grid(table: "pd.DataFrame") -> bool:
    """Whether every point has as many images of each kind as the others."""
    import pandas as pd

    counts = pd.crosstab(table["point"], table["kind"])
    return table.empty or (set(counts) == {"input", "q", "q_iw"} and bool((counts == counts.iloc[0]).all(axis=None)))


RECONSTRUCTIONS = ParquetKind(
    name="reconstructions",
    pattern="*reconstructions*.parquet",
    columns={
        "point": count("number of the test point"),
        "kind": name("'input', 'q' or 'q_iw'"),
        "sample": count("number of the reconstruction; 0 of an input"),
        "pixels": numbers("the input's or the Bernoulli means, row by row"),
        "z": optional(numbers("the latent variable; empty of an input")),
        "log_likelihood": optional(number("log p(x|z) in nats; NaN of an input")),
        "ssim": optional(number("structural similarity with the input; NaN of an input")),
        **RUN,
        "k": count("importance samples behind q_IW", 1),
        "seed": count("root seed of the noise"),
        **SIZE,
    },
    remedy="run 'snrkit reconstruct --ckpt CHECKPOINT' again",
    whole=_whole,
)
