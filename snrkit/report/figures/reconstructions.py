"""Data points beside their reconstructions from q and from q_IW."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from snrkit.report import tiles
from snrkit.report.collect import Tables
from snrkit.report.drawing import Drawing, FigureKind, Missing
from snrkit.report.naming import name_of
from snrkit.report.style import Look

KINDS = {"input": "input", "q": "z ~ q(z|x)", "q_iw": "z ~ q$_{IW}$, k = %d"}

COMMAND = "snrkit reconstruct --ckpt CHECKPOINT"
# Of the SSIM that snrkit.evaluation.ssim computes, whose module loads torch; a test compares.
WINDOW = "11x11 Gaussian window, sigma 1.5, range 1"


def draw(tables: Tables, look: Look) -> Drawing | Missing:
    """Draw the reconstructions of every run that has some, one run below the other."""
    images = tables["reconstructions"]
    if images.empty:
        return Missing(f"no reconstructions.parquet found: run '{COMMAND}'")
    images, written = tiles.only_images(images, "reconstructions")
    if images.empty:
        return Missing(f"no reconstructions are images: {'; '.join(written)}")
    shown, notes = _on_a_page([group for _, group in images.groupby("source", sort=False)], look)
    return replace(draw_tables(shown, look), notes=(*written, *notes))


def _on_a_page(tables: Sequence[pd.DataFrame], look: Look) -> tuple[list[pd.DataFrame], tuple[str, ...]]:
    """The first points of each table, as many as fit, and a line about the others."""
    most = tiles.rows_on_a_page(list(map(_band, tables)), look)
    points = max(table["point"].nunique() for table in tables)
    if points <= most:
        return list(tables), ()
    cut = [table[table["point"].isin(sorted(table["point"].unique())[:most])] for table in tables]
    return cut, (f"{points - most} of {points} test points of a run do not fit and are not drawn",)


def draw_tables(tables: Sequence[pd.DataFrame], look: Look) -> Drawing:
    """Draw tables of ``snrkit reconstruct``, one below the other.

    Args:
        tables: one row per image.
        look: sizes.
    """
    columns = ["run", "step", "data", "k", "seed", "height", "width", "point", "kind", "sample", "pixels"]
    columns += ["ssim"] if any(_has_ssim(table) for table in tables) else []
    data = pd.concat([table.reindex(columns=columns) for table in tables], ignore_index=True)
    data["pixels"] = tiles.shown_pixels(data["pixels"])
    return Drawing(tiles.draw(list(map(_band, tables)), look), data, _caption(tables), _alt(tables))


def _band(table: pd.DataFrame) -> tiles.Band:
    """A row per point, a column per sample."""
    panels = {}
    for kind, title in _titles(table).items():
        own = table[table["kind"] == kind].sort_values(["point", "sample"])
        images = tiles.images_of(own)
        panels[title] = images.reshape(own["point"].nunique(), -1, *images.shape[1:])
    return tiles.Band(name_of(table), panels)


def _titles(table: pd.DataFrame) -> dict[str, str]:
    """Kind -> title of its panel, with the mean SSIM where that is known."""
    titles = {kind: title % table["k"].iloc[0] if kind == "q_iw" else title for kind, title in KINDS.items()}
    below = {kind: f"SSIM {mean:.3f}" for kind, mean in _mean_ssim(table).items()}
    return {kind: f"{title}\n{below.get(kind, '')}" for kind, title in titles.items()} if below else titles


def _has_ssim(table: pd.DataFrame) -> bool:
    return "ssim" in table and bool(table["ssim"].notna().any())


def _mean_ssim(table: pd.DataFrame) -> dict[str, float]:
    """Kind -> mean over its images; empty where it was not computed."""
    if not _has_ssim(table):
        return {}
    return {kind: float(table.loc[table["kind"] == kind, "ssim"].mean()) for kind in ("q", "q_iw")}


def _caption(tables: Sequence[pd.DataFrame]) -> str:
    runs = "; ".join(
        f"{name_of(table)}, step {table['step'].iloc[0]}, {table['data'].iloc[0]}, k = {table['k'].iloc[0]}, "
        f"seed {table['seed'].iloc[0]}"
        for table in tables
    )
    similar = (
        f" SSIM: mean over the images shown of their structural similarity with the input ({WINDOW}); 1 is the same image."
        if any(map(_has_ssim, tables))
        else ""
    )
    return (
        "Test points (left) beside Bernoulli means of reconstructions: z drawn from the proposal q(z|x), and z drawn from "
        "q_IW, one of k proposals kept with probability its normalised importance weight. A sample of q is the first of the "
        f"k that its neighbour on the right was chosen from.{similar} {runs}."
    )


def _alt(tables: Sequence[pd.DataFrame]) -> str:
    shown = "; ".join(
        f"{name_of(table)}, {table['point'].nunique()} test points"
        + "".join(f", mean SSIM of {kind} {mean:.3f}" for kind, mean in _mean_ssim(table).items())
        for table in tables
    )
    return f"Grey images in three groups of columns: inputs, reconstructions from q, and from q_IW. {shown}."


figure = FigureKind(
    title="Reconstructions",
    section="bound",
    needs=("reconstructions",),
    command=COMMAND,
    definition=(
        "Bernoulli means given z. q_IW draws k samples from q and keeps one with probability its normalised importance "
        "weight; as k grows it comes close to the posterior."
    ),
    uncertainty="Single draws, side by side: their differences show the spread.",
    draw=draw,
)
