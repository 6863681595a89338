"""Images as they are written step by step, one row per canvas."""

from typing import TYPE_CHECKING

from snrkit.runs.kinds.base import RUN, count, name, number, numbers
from snrkit.runs.kinds.images import SIZE, whole_pixels
from snrkit.runs.kinds.parquet import ParquetKind

if TYPE_CHECKING:
    import pandas as pd


def _whole(table: "pd.DataFrame") -> str:
    import pandas as pd

    odd = sorted(set(table["kind"]) - {"input", "canvas"})
    if odd:
        return f"column 'kind' holds '{odd[0]}'"
    written = table[table["kind"] == "canvas"]
    steps = pd.crosstab(written["number"], written["t"])
    inputs = table[table["kind"] == "input"].groupby("number").size()
    missing = not steps.eq(1).all(axis=None) or list(steps) != list(range(1, steps.shape[1] + 1))
    if missing or not (inputs.empty or inputs.reindex(steps.index).eq(1).all()):
        return "rows are missing: every image needs the same steps, and an input or none"
    return whole_pixels(table)


CANVASES = ParquetKind(
    name="canvases",
    pattern="*canvases*.parquet",
    columns={
        "number": count("of the test point, or of the sample of the prior"),
        "t": count("number of steps taken; 0 of an input"),
        "kind": name("'input' or 'canvas'"),
        "pixels": numbers("the input's or the Bernoulli means of the canvas, row by row"),
        "kl": number(
            "KL of the step from the prior given the steps before it, nats; NaN of an input and of the prior's"
        ),
        "read": count("N of the N x N window through which the image was read; 0: all of it"),
        "write": count("N of the N x N window through which the canvas was written to; 0: all of it"),
        "read_left": number("centre of the window, pixels from the left, counted from 1"),
        "read_top": number("centre of the window, pixels from the top, counted from 1"),
        "read_stride": number("pixels from a filter of the window to the next"),
        "write_left": number("as of reading"),
        "write_top": number("as of reading"),
        "write_stride": number("as of reading"),
        "of": name("'test': reconstructions of test points; 'prior': samples"),
        **RUN,
        "seed": count("root seed of the noise"),
        **SIZE,
    },
    remedy="run 'snrkit canvases --ckpt CHECKPOINT' again",
    whole=_whole,
)
