"""Samples of a model's prior, decoded: one row per image or sentence."""

from typing import TYPE_CHECKING

from snrkit.runs.kinds.base import RUN, count, name
from snrkit.runs.kinds.images import OF_IMAGES, SHOWN, whole_shown
from snrkit.runs.kinds.parquet import ParquetKind

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "mean": "pixel means given z",
    "drawn": "pixels drawn from p(x|z)",
    "greedy": "the most probable word at every place",
    "sampled": "words drawn from p(x|z)",
}


def _whole(table: "pd.DataFrame") -> str:
    odd = sorted(set(table["kind"]) - set(KINDS))
    if odd:
        return f"column 'kind' holds '{odd[0]}'"
    if table.duplicated(["sample", "kind"]).any():
        return "a sample is there twice"
    return whole_shown(table)


SAMPLES = ParquetKind(
    name="samples",
    pattern="*prior-samples*.parquet",
    columns={
        "sample": count("number of the sample"),
        "kind": name("; ".join(f"'{kind}': {meaning}" for kind, meaning in KINDS.items())),
        **SHOWN,
        **RUN,
        "seed": count("root seed of the noise"),
        **OF_IMAGES,
    },
    remedy="run 'snrkit sample --ckpt CHECKPOINT' again",
    whole=_whole,
)
