"""Images as they are written, step by step, with the windows through which they are read and written to."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from snrkit.report import tiles
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.naming import name_of
from snrkit.report.style import Look
from snrkit.types import Array

COMMAND = "snrkit canvases --ckpt CHECKPOINT"
# More steps than these are not told apart on a page.
_MOST = 10
_ENDS = {"test": "reconstructions of test points, one sample of q(z|x) each", "prior": "samples of the prior"}
# Two colours that are told apart by all readers, and on white as on black.
_COLOURS = {"read": "#0072B2", "write": "#D55E00"}
_WINDOWS = [f"{kind}_{what}" for kind in _COLOURS for what in ("left", "top", "stride")]
_COLUMNS = [
    "run", "step", "data", "of", "seed", "height", "width", "number", "t", "kind", "kl", "read", "write", *_WINDOWS,
    "pixels",
]  # fmt: skip


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw the images of every run that has some, one run below the other."""
    table = tables["canvases"]
    if table.empty:
        return Missing(f"no canvases.parquet found: run '{COMMAND}'")
    return draw_tables([own for _, own in table.groupby("source", sort=False)], look)


def draw_tables(tables: Sequence[pd.DataFrame], look: Look) -> Drawing:
    """Draw tables of ``snrkit canvases``, one below the other.

    Args:
        tables: one row per image.
        look: sizes.
    """
    chosen = [_some_steps(table) for table in tables]
    most = tiles.rows_on_a_page([_band(table) for table in chosen], look)
    shown = [table[table["number"].isin(sorted(table["number"].unique())[:most])] for table in chosen]
    bands = [_band(table) for table in shown]
    figure = tiles.draw(bands, look)
    panels = iter(figure.axes)
    for table, band in zip(shown, bands, strict=True):
        # The last panel of a band has the canvases; the one before it, if any, the inputs.
        axes = [next(panels) for _ in band.panels][-1]
        for kind in _COLOURS:
            _frames(axes, table, kind, look)
    data = pd.concat([table.reindex(columns=_COLUMNS) for table in shown], ignore_index=True)
    data["pixels"] = tiles.shown_pixels(data["pixels"])
    return Drawing(figure, data, _caption(shown), _alt(shown), tuple(_left_out(tables, chosen, shown)))


def _some_steps(table: pd.DataFrame) -> pd.DataFrame:
    """Of many steps a few, equally far apart, the last among them."""
    last = int(table["t"].max())
    steps = np.unique(np.linspace(last, 1, min(last, _MOST)).round().astype(int))
    return table[table["t"].isin([0, *steps])]


def _left_out(
    tables: Sequence[pd.DataFrame], chosen: Sequence[pd.DataFrame], shown: Sequence[pd.DataFrame]
) -> Iterator[str]:
    for table, some, drawn in zip(tables, chosen, shown, strict=True):
        run, images = name_of(table), table["number"].nunique()
        left = images - drawn["number"].nunique()
        if _steps(some) < _steps(table):
            yield f"{run}: {_steps(some)} of {_steps(table)} steps are drawn"
        if left:
            yield f"{run}: {left} of {images} images do not fit and are not drawn"


def _steps(table: pd.DataFrame) -> int:
    return int(table.loc[table["kind"] == "canvas", "t"].nunique())


def _band(table: pd.DataFrame) -> tiles.Band:
    """A row per image, a column per step."""
    inputs, written = table[table["kind"] == "input"], table[table["kind"] == "canvas"]
    steps = sorted(written["t"].unique())
    title = f"t = {', '.join(map(str, steps))}"
    panels = {} if inputs.empty else {"x": _rows(inputs)}
    panels[title] = _rows(written)
    return tiles.Band(name_of(table), panels)


def _rows(table: pd.DataFrame) -> Array:
    images = tiles.images_of(table.sort_values(["number", "t"]))
    return images.reshape(table["number"].nunique(), -1, *images.shape[1:])


def _frames(axes: Axes, table: pd.DataFrame, kind: str, look: Look) -> None:
    """Of every canvas the window of its step, from its first filter's centre to its last one's, cut off at the image."""
    written = table[table["kind"] == "canvas"]
    if not (written[kind] > 0).any():
        return
    height, width = int(written["height"].iloc[0]), int(written["width"].iloc[0])
    rows = {number: row for row, number in enumerate(sorted(written["number"].unique()))}
    columns = {t: column for column, t in enumerate(sorted(written["t"].unique()))}
    for image in written.to_dict("records"):
        left, top = tiles.corner(rows[image["number"]], columns[image["t"]], height, width)
        reach = (image[kind] - 1) / 2 * image[f"{kind}_stride"]
        low = [image[f"{kind}_{side}"] - 1 - reach for side in ("left", "top")]
        if not np.isfinite([*low, reach]).all():
            continue
        frame = Rectangle(
            (left + low[0], top + low[1]), 2 * reach, 2 * reach, fill=False, edgecolor=_COLOURS[kind],
            linewidth=0.8 * look.line, linestyle="-" if kind == "write" else (0, (2, 1)),
        )  # fmt: skip
        axes.add_patch(frame)
        frame.set_clip_path(Rectangle((left - 0.5, top - 0.5), width, height, transform=axes.transData))


def _attention(tables: Sequence[pd.DataFrame]) -> bool:
    return any(bool((table[kind] > 0).any()) for table in tables for kind in _COLOURS)


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    runs = "; ".join(
        f"{name_of(table)}, step {table['step'].iloc[0]}, {table['data'].iloc[0]}, "
        f"{_ENDS.get(str(table['of'].iloc[0]), '')}, seed {table['seed'].iloc[0]}"
        for table in tables
    )
    windows = (
        " Frames: the windows of that step, from the centre of their first filter to that of their last; dashed blue where "
        "it read, orange where it wrote."
        if _attention(tables)
        else ""
    )
    return f"The canvas after t steps, as Bernoulli means, beside the data point that was read.{windows} {runs}."


def _alt(tables: Sequence[pd.DataFrame]) -> str:
    shown = "; ".join(
        f"{name_of(table)}, {table['number'].nunique()} images after {_steps(table)} steps" for table in tables
    )
    return f"Rows of grey images, each row growing clearer from left to right. {shown}."


figure = FigureKind(
    title="Canvases",
    section="bound",
    needs=("canvases",),
    command=COMMAND,
    definition="Bernoulli means of the canvas after each step of a model that writes images step by step.",
    uncertainty="Single samples of z; another one is written in another way.",
    draw=draw,
)
