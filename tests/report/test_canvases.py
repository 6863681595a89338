"""Canvases: every image in its place, every window where its step was, what does not fit said."""

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from snrkit.report import style
from snrkit.report.drawing import Missing
from snrkit.report.figures import canvases as figure
from tests.report.reading import assert_readable
from tests.support.results import canvases


def drawn(tables, column="icml"):
    look = style.COLUMNS[column]
    with style.context(look):
        drawing = figure.draw_tables(tables, look)
        assert_readable(drawing.figure)
    return drawing


def test_images_and_windows_are_in_their_places():
    table = canvases()
    drawing = drawn([table])
    inputs, written = drawing.figure.axes
    assert written.get_title() == "t = 1, 2, 3"
    shown = np.asarray(written.images[0].get_array())
    pixels = table.set_index(["number", "t"]).pixels
    for row, number in enumerate((0, 4)):
        np.testing.assert_allclose(
            np.asarray(inputs.images[0].get_array())[5 * row + 1 : 5 * row + 4, 1:3].ravel(), pixels[number, 0]
        )
        for column in range(3):
            inner = shown[5 * row + 1 : 5 * row + 4, 4 * column + 1 : 4 * column + 3]
            np.testing.assert_allclose(inner.ravel(), pixels[number, column + 1])
    frames = [patch for patch in written.patches if isinstance(patch, Rectangle)]
    read = [frame for frame in frames if to_hex(frame.get_edgecolor()) == "#0072b2"]
    assert (len(read), len(frames)) == (6, 12)
    # Two filters a pixel apart about pixels 1 and 2 of both sides; of the first image the first pixel lies at (1, 1).
    assert [read[0].get_x(), read[0].get_y(), read[0].get_width()] == [1.0, 1.5, 1.0]
    assert [read[4].get_x(), read[4].get_y()] == [5.0, 6.5]
    to_pixels = written.transData.inverted()
    cut = [to_pixels.transform_bbox(frame.get_clip_box()) for frame in frames]
    for corner, expected in (("min", (4.5, 5.5)), ("max", (6.5, 8.5))):  # of the fifth, at the edge of its own image
        np.testing.assert_allclose(getattr(cut[4], corner), expected)
    assert "dashed blue" in drawing.caption
    assert drawing.notes == ()
    assert len(drawing.data) == len(table)


def test_without_attention_no_window_is_drawn_and_the_priors_images_have_no_input():
    table = canvases()
    windows = [name for name in table if name.startswith(("read_", "write_"))]
    table = table[table["kind"] == "canvas"].assign(
        read=0, write=0, of="prior", kl=np.nan, **dict.fromkeys(windows, np.nan)
    )
    drawing = drawn([table])
    (axes,) = drawing.figure.axes
    assert not axes.patches
    assert "Frames" not in drawing.caption
    assert "samples of the prior" in drawing.caption


def test_what_does_not_fit_is_said():
    one = canvases().query("number == 0")
    long = pd.concat([one, *(one.query("t == 3").assign(t=t) for t in range(4, 65))])
    many = pd.concat([long.assign(number=number) for number in range(120)])
    drawing = drawn([many])
    steps = sorted(drawing.data.query("kind == 'canvas'")["t"].unique())
    assert (len(steps), steps[0], steps[-1]) == (10, 1, 64)
    left = 120 - drawing.data["number"].nunique()
    assert drawing.notes == (
        "demo: 10 of 64 steps are drawn",
        f"demo: {left} of 120 images do not fit and are not drawn",
    )
    assert left > 0


def test_without_data_the_command_is_named():
    missing = figure.draw({"canvases": canvases().iloc[:0]}, style.COLUMNS["icml"])
    assert isinstance(missing, Missing)
    assert "snrkit canvases" in missing.reason
