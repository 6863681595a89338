"""Panels that fit a column, and legends below them."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from snrkit.report import style
from snrkit.report.naming import numbered
from snrkit.report.style import Look

# In units of the text size.
_NARROWEST = 14.0
_LOWEST, _HIGHEST = 17.0, 24.0
_ASPECT = 0.72
_LEGEND_LINE = 1.45
_HANDLE = 4.6
# Beside the axes a panel holds its title, its ticks and its label.
_AROUND_AXES = 6.5
# Columns of a legend, letters that a column of several must have room for, and lines that a label may take.
_MOST_COLUMNS, _LEAST_LETTERS, _MOST_TEXT_LINES = 5, 12, 3
_AROUND_ROWS, _LEAST_ROW = 5.0, 2.4


def panels(
    look: Look, count: int, *, handles: Sequence[Artist] = (), side: bool = True, height: float | None = None,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure of one column's width: panels side by side where there is room, else one above the other; legend below.

    Args:
        look: sizes.
        count: number of panels.
        handles: entries of the legend, which is set as low as it can be: see ``_legend``.
        side: whether panels may stand side by side.
        height: of a panel in units of the text size; None: by its width.
        share_y: whether panels side by side share the y axis.
    """
    widest = look.column / (_NARROWEST * look.em)
    across = next(n for n in range(count if side else 1, 0, -1) if n == 1 or (n <= widest and count % n == 0))
    rows = count // across
    tall = min(max(_ASPECT * look.column / across / look.em, _LOWEST), _HIGHEST) if height is None else height
    legend = _legend(look, handles) if handles else None
    below = legend.height / look.em if legend else 0.0
    # No legend is taller than the axes that it explains.
    tall = max(tall, below + _AROUND_AXES if legend else 0.0)
    figure = Figure(figsize=(look.column, (rows * tall + below) * look.em), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False, sharey=share_y)
    if legend:
        figure.legend(
            handles=list(handles), labels=list(legend.texts), loc="outside lower center", ncols=legend.columns
        )
    return figure, list(grid.ravel())


def named_rows(look: Look, names: Sequence[str]) -> tuple[list[str], float]:
    """Names of rows, wrapped to a third of the column, and the height of a panel with a row for each, in text sizes."""
    wrapped = [style.wrapped(name, look.letters(look.column / 3)) for name in names]
    tallest = max(name.count("\n") + 1 for name in wrapped)
    return wrapped, _AROUND_ROWS + len(names) * max(_LEAST_ROW, _LEGEND_LINE * tallest + 0.3)


@dataclass(frozen=True)
class _Legend:
    """A way to set a legend: texts, columns, and the size that it is drawn with, in inches."""

    texts: tuple[str, ...]
    columns: int
    width: float
    height: float


def _legend(look: Look, handles: Sequence[Artist]) -> _Legend:
    """The lowest legend that is no wider than the column, by its drawn box; of several, that of most columns."""
    labels = numbered([_shortened(look, str(handle.get_label())) for handle in handles])
    tried = []
    for columns in range(min(_MOST_COLUMNS, len(handles)), 0, -1):
        for share in (1, columns) if columns > 1 else (1,):
            room = look.letters(look.column / share - (_HANDLE + 1) * look.em)
            if room >= _LEAST_LETTERS or share == 1:
                texts = tuple(style.wrapped(label, room) for label in labels)
                tried.append(_Legend(texts, columns, *_drawn_size(look, handles, texts, columns)))
    fitting = [one for one in tried if one.width <= look.column] or tried[-1:]
    return min(fitting, key=lambda one: round(one.height, 2))


def _drawn_size(look: Look, handles: Sequence[Artist], texts: Sequence[str], columns: int) -> tuple[float, float]:
    """Width and height of a legend as it is drawn, in inches."""
    figure = Figure(figsize=(look.column, look.column))
    legend = figure.legend(handles=list(handles), labels=list(texts), loc="upper left", ncols=columns)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        box = legend.get_window_extent(FigureCanvasAgg(figure).get_renderer())  # type: ignore[no-untyped-call]
    return box.width / figure.dpi, box.height / figure.dpi


def _shortened(look: Look, label: str) -> str:
    """A label of at most a few lines: of a longer one its beginning and its end."""
    most = _MOST_TEXT_LINES * look.letters(look.column - (_HANDLE + 1) * look.em)
    half = (most - 1) // 2
    return label if len(label) <= most else f"{label[:half]}…{label[-half:]}"
