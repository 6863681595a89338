"""What lies between two points of the latent space, decoded to images."""

from collections.abc import Sequence

import pandas as pd

from snrkit.report import tiles
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.naming import name_of
from snrkit.report.style import Look
from snrkit.types import Array

COMMAND = "snrkit interpolate --ckpt CHECKPOINT"
_ENDS = {"test": "test points at noise of zero", "prior": "samples of the prior"}
_COLUMNS = [
    "run", "step", "data", "between", "seed", "height", "width", "pair", "place", "t", "kind", "point", "pixels",
]  # fmt: skip


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw the images of every run that has some, one run below the other; sentences are told of in a note."""
    table = tables["interpolations"]
    if table.empty:
        return Missing(f"no interpolations.parquet found: run '{COMMAND}'")
    images, notes = tiles.only_images(table, "interpolations")
    if images.empty:
        return Missing(f"no interpolations are between images: {'; '.join(notes)}")
    return draw_tables([own for _, own in images.groupby("source", sort=False)], look, notes)


def draw_tables(tables: Sequence[pd.DataFrame], look: Look, notes: tuple[str, ...] = ()) -> Drawing:
    """Draw tables of ``snrkit interpolate`` of images, one below the other.

    Args:
        tables: one row per image.
        look: sizes.
        notes: what was left out.
    """
    most = tiles.rows_on_a_page([_band(table) for table in tables], look)
    cut = [table[table["pair"] < most] for table in tables]
    left = max(table["pair"].nunique() for table in tables) - most
    more = (f"{left} lines of a run do not fit and are not drawn",) if left > 0 else ()
    data = pd.concat([table.reindex(columns=_COLUMNS) for table in cut], ignore_index=True)
    data["pixels"] = tiles.shown_pixels(data["pixels"])
    figure = tiles.draw([_band(table) for table in cut], look)
    return Drawing(figure, data, _caption(cut), _alt(cut), (*notes, *more))


def _band(table: pd.DataFrame) -> tiles.Band:
    """A row per line: the data point that it begins at, what lies between, the data point that it ends at."""
    inputs, between = table[table["kind"] == "input"], table[table["kind"] != "input"]
    panels = {} if inputs.empty else {"from": _rows(inputs[inputs["t"] == 0])}
    panels["decoded"] = _rows(between)
    panels |= {} if inputs.empty else {"to": _rows(inputs[inputs["t"] == 1])}
    return tiles.Band(name_of(table), panels)


def _rows(table: pd.DataFrame) -> Array:
    images = tiles.images_of(table.sort_values(["pair", "place"]))
    return images.reshape(table["pair"].nunique(), -1, *images.shape[1:])


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    runs = "; ".join(
        f"{name_of(table)}, step {table['step'].iloc[0]}, {table['data'].iloc[0]}, between "
        f"{_ENDS.get(str(table['between'].iloc[0]), 'two points')}, seed {table['seed'].iloc[0]}"
        for table in tables
    )
    return f"Bernoulli means given z = (1 - t) z_1 + t z_2, t from 0 (left) to 1 (right) in equal steps. {runs}."


def _alt(tables: Sequence[pd.DataFrame]) -> str:
    shown = "; ".join(
        f"{name_of(table)}, {table['pair'].nunique()} lines of {table['place'].nunique()} images" for table in tables
    )
    return f"Rows of grey images, each row changing from one image to another. {shown}."


figure = FigureKind(
    title="Interpolations",
    section="bound",
    needs=("interpolations",),
    command=COMMAND,
    definition=(
        "Bernoulli means given points on the straight line between two z: of test points at noise of zero, or of the prior."
    ),
    uncertainty="Means; what is drawn from them is not shown.",
    draw=draw,
)
