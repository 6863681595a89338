"""Reading figures back: what is drawn, and whether its texts can be read."""

import itertools

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text


def lines(axes, gid="line"):
    """Drawn lines by label."""
    return {line.get_label(): line for line in axes.get_lines() if line.get_gid() == gid}


def visible_texts(figure: Figure):
    """Boxes of all texts that appear, by what they say."""
    FigureCanvasAgg(figure).draw()
    renderer = figure.canvas.get_renderer()
    texts = [text for legend in figure.legends for text in [*legend.get_texts(), legend.get_title()]]
    for axes in figure.axes:
        texts += [axes.title, *axes.texts]
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())) if axes.axison else ():
            texts.append(axis.label)
            low, high = sorted(limits)
            ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            texts += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    # Text's own extent: that of an annotation would include its connector.
    return [(text.get_text(), Text.get_window_extent(text, renderer)) for text in texts if text.get_text()]


def assert_readable(figure: Figure) -> None:
    """No text over another, and none beyond the page."""
    boxes, page = visible_texts(figure), figure.bbox
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), f"{one!r} over {other!r}"
    for text, box in boxes:
        assert box.x0 >= page.x0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.y1 <= page.y1 + 1, text
