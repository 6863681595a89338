"""Test points beside their reconstructions from q and from q_IW, one row per image or sentence."""

from typing import TYPE_CHECKING

from snrkit.runs.kinds.base import RUN, count, name, number, optional
from snrkit.runs.kinds.images import OF_IMAGES, SHOWN, whole_shown
from snrkit.runs.kinds.parquet import ParquetKind

if TYPE_CHECKING:
    import pandas as pd


def _whole(table: "pd.DataFrame") -> str:
    return whole_shown(table) or (
        "" if _whole_grid(table) else "rows are missing: every point needs as many images of each kind"
    )


def _whole_grid(table: "pd.DataFrame") -> bool:
    """Whether every point has as many images, or sentences, of each kind as the others."""
    import pandas as pd

    counts = pd.crosstab(table["point"], table["kind"])
    kinds = {"input", "mean", "q", "q_iw"} if "text" in table else {"input", "q", "q_iw"}
    return table.empty or (set(counts) == kinds and bool((counts == counts.iloc[0]).all(axis=None)))


RECONSTRUCTIONS = ParquetKind(
    name="reconstructions",
    pattern="*reconstructions*.parquet",
    columns={
        "point": count("number of the test point"),
        "kind": name("'input', 'q' or 'q_iw'; of sentences also 'mean', at the mean of q"),
        "sample": count("number of the reconstruction; 0 of an input and of a mean"),
        **SHOWN,
        "log_likelihood": optional(number("log p(x|z) in nats; NaN of an input")),
        "ssim": optional(number("structural similarity with the input; NaN of an input")),
        **RUN,
        "k": count("importance samples behind q_IW", 1),
        "seed": count("root seed of the noise"),
        **OF_IMAGES,
    },
    remedy="run 'snrkit reconstruct --ckpt CHECKPOINT' again",
    whole=_whole,
)
