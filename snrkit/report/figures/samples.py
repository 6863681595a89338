"""Samples of the prior, decoded to images."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from snrkit.report import tiles
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.naming import name_of
from snrkit.report.style import Look
from snrkit.runs.kinds.samples import KINDS
from snrkit.types import Array

COMMAND = "snrkit sample --ckpt CHECKPOINT"
# Images side by side in a panel.
_ACROSS = 10
_COLUMNS = ["run", "step", "data", "seed", "height", "width", "sample", "kind", "pixels"]


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw the images of every run that has some, one run below the other; sentences are told of in a note."""
    table = tables["samples"]
    if table.empty:
        return Missing(f"no prior-samples.parquet found: run '{COMMAND}'")
    images, notes = tiles.only_images(table, "samples")
    if images.empty:
        return Missing(f"no samples are images: {'; '.join(notes)}")
    return draw_tables([own for _, own in images.groupby("source", sort=False)], look, notes)


def draw_tables(tables: Sequence[pd.DataFrame], look: Look, notes: tuple[str, ...] = ()) -> Drawing:
    """Draw tables of ``snrkit sample`` of images, one below the other.

    Args:
        tables: one row per image.
        look: sizes.
        notes: what was left out.
    """
    most = tiles.rows_on_a_page([_band(table) for table in tables], look) * _ACROSS
    cut = [table[table["sample"] < most] for table in tables]
    left = max(table["sample"].nunique() for table in tables) - most
    more = (f"{left} samples of a run do not fit and are not drawn",) if left > 0 else ()
    data = pd.concat([table.reindex(columns=_COLUMNS) for table in cut], ignore_index=True)
    data["pixels"] = tiles.shown_pixels(data["pixels"])
    figure = tiles.draw([_band(table) for table in cut], look)
    return Drawing(figure, data, _caption(cut), _alt(cut), (*notes, *more))


def _band(table: pd.DataFrame) -> tiles.Band:
    panels = {KINDS[kind]: _grid(table[table["kind"] == kind].sort_values("sample")) for kind in _kinds(table)}
    return tiles.Band(name_of(table), panels)


def _kinds(table: pd.DataFrame) -> list[str]:
    return [kind for kind in KINDS if (table["kind"] == kind).any()]


def _grid(table: pd.DataFrame) -> Array:
    """Images in rows of ten; the last one is filled up with blank ones."""
    images = tiles.images_of(table)
    across = min(len(images), _ACROSS)
    filled = np.pad(images, ((0, -len(images) % across), (0, 0), (0, 0)))
    return filled.reshape(-1, across, *images.shape[1:])


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    runs = "; ".join(
        f"{name_of(table)}, step {table['step'].iloc[0]}, {table['data'].iloc[0]}, seed {table['seed'].iloc[0]}"
        for table in tables
    )
    kinds = " and ".join(dict.fromkeys(KINDS[kind] for table in tables for kind in _kinds(table)))
    return f"Samples of the prior p(z), decoded: {kinds}. {runs}."


def _alt(tables: Sequence[pd.DataFrame]) -> str:
    shown = "; ".join(f"{name_of(table)}, {table['sample'].nunique()} samples" for table in tables)
    return f"Grey images in rows, each decoded from a sample of the prior. {shown}."


figure = FigureKind(
    title="Samples of the prior",
    section="bound",
    needs=("samples",),
    command=COMMAND,
    definition="Bernoulli means given z drawn from the prior; beside them, where asked for, pixels drawn of these.",
    uncertainty="Single draws, side by side: their differences show the spread.",
    draw=draw,
)
