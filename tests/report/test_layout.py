"""Legends as they are drawn: as wide as the page at most, and never taller than the axes that they explain."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D

from snrkit.report import style
from snrkit.report.collect import Tables
from snrkit.report.figures import FIGURES
from snrkit.report.layout import panels
from snrkit.report.style import look_of
from tests.report.reading import assert_readable
from tests.support.results import table

LONG = "CIWAE (β = 0.5), data.binarise = dynamic, optimiser.schedule = burda, slope −0.57 ± 0.06 | 0.479 ± 0.003"


def drawn(look, labels, count=2):
    """(legend, axes): their boxes as drawn."""
    with style.context(look):
        figure, axes = panels(look, count, handles=[Line2D([], [], label=label) for label in labels])
        for place in axes:
            place.plot([0.1, 1], [1, 2])
            place.set(title="title", xlabel="samples K", ylabel="SNR")
        FigureCanvasAgg(figure).draw()
        renderer = figure.canvas.get_renderer()
        assert_readable(figure)
        return figure.legends[0].get_window_extent(renderer), [place.get_window_extent(renderer) for place in axes]


@pytest.mark.rest_slow
@pytest.mark.parametrize("column", ["icml", "a4", "2in", "70mm"])
@pytest.mark.parametrize(
    "labels",
    [["IWAE"], [f"run {i}" for i in range(12)], [f"{LONG} {i}" for i in range(12)], ["x" * 900, "y" * 5, "x" * 899]],
    ids=["one", "twelve", "long", "longest"],
)
def test_no_legend_is_wider_than_the_page_or_taller_than_its_axes(column, labels):
    look = look_of(column)
    legend, axes = drawn(look, labels)
    assert legend.height <= max(box.height for box in axes)
    assert legend.width <= look.column * 100 + 1


def test_short_entries_stand_side_by_side():
    legend, _ = drawn(look_of("icml"), ["IWAE", "DReG", "STL", "floor"])
    alone, _ = drawn(look_of("icml"), ["IWAE"])
    assert legend.height < 1.5 * alone.height


def test_labels_that_are_cut_stay_apart():
    look = look_of("icml")
    with style.context(look):
        same = ["a" * 500 + middle + "b" * 500 for middle in "xyz"]
        figure, _ = panels(look, 1, handles=[Line2D([], [], label=label) for label in same])
    texts = [text.get_text().replace("\n", "") for text in figure.legends[0].get_texts()]
    assert len(set(texts)) == 3
    assert all("…" in text for text in texts)


def test_as_many_lines_as_a_figure_can_show():
    called = [f"a run that somebody gave a long name, number {i} of them" for i in range(12)]
    frames = [table("demo", ["iwae"], (1, 10)).assign(run=run) for run in called]
    look = look_of("icml")
    frame = pd.concat(frames, ignore_index=True).assign(seed=0)
    with style.context(look):
        figure = FIGURES.load("snr_vs_k").draw(Tables({}, {"snr": frame}), look).figure
        FigureCanvasAgg(figure).draw()
        renderer = figure.canvas.get_renderer()
    heights = [place.get_window_extent(renderer).height for place in figure.axes]
    assert figure.legends[0].get_window_extent(renderer).height <= np.max(heights)
    assert_readable(figure)
