"""What lies between two points of a model's latent space, decoded: one row per image or sentence."""

from typing import TYPE_CHECKING

from snrkit.runs.kinds.base import RUN, count, name, number
from snrkit.runs.kinds.images import OF_IMAGES, SHOWN, whole_shown
from snrkit.runs.kinds.parquet import ParquetKind

if TYPE_CHECKING:
    import pandas as pd


def _whole(table: "pd.DataFrame") -> str:
    """The same places on every line, and data points at both ends of all lines or of none."""
    import pandas as pd

    odd = sorted(set(table["kind"]) - {"input", "mean", "greedy"})
    if odd:
        return f"column 'kind' holds '{odd[0]}'"
    between = table[table["kind"] != "input"]
    counts = pd.crosstab(between["pair"], between["place"])
    ends = table[table["kind"] == "input"].groupby("pair").size()
    missing = not counts.eq(1).all(axis=None) or list(counts) != list(range(counts.shape[1]))
    if missing or not (ends.empty or ends.reindex(counts.index).eq(2).all()):
        return "rows are missing: every line needs the same places, and two data points or none"
    return whole_shown(table)


INTERPOLATIONS = ParquetKind(
    name="interpolations",
    pattern="*interpolations*.parquet",
    columns={
        "pair": count("number of the line"),
        "place": count("on the line, from 0"),
        "t": number("share of the second end in z, from 0 to 1", 0.0),
        "kind": name("'input': a data point at an end; 'mean': pixel means given z; 'greedy': the most probable words"),
        **SHOWN,
        "point": number("number of the test point of an input", 0.0),
        "between": name("what the ends are: 'test' points at noise of zero, or samples of the 'prior'"),
        **RUN,
        "seed": count("root seed of the noise"),
        **OF_IMAGES,
    },
    remedy="run 'snrkit interpolate --ckpt CHECKPOINT' again",
    whole=_whole,
)
