"""Panels that fit a column, and legends below them."""

import math
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snrkit.report import style
from snrkit.report.style import Look

# In units of the text size.
_NARROWEST = 14.0
_LOWEST, _HIGHEST = 17.0, 24.0
_ASPECT = 0.72
_LEGEND_LINE = 1.45
_HANDLE = 4.6
_AROUND_ROWS, _LEAST_ROW = 5.0, 2.4


def panels(
    look: Look, count: int, *, handles: Sequence[Artist] = (), side: bool = True, height: float | None = None,
    share_y: bool = False,
) -> tuple[Figure, list[Axes]]:  # fmt: skip
    """A figure of one column's width: panels side by side where there is room, else one above the other; legend below.

    Args:
        look: sizes.
        count: number of panels.
        handles: entries of the legend; their labels are wrapped to the column.
        side: whether panels may stand side by side.
        height: of a panel in units of the text size; None: by its width.
        share_y: whether panels side by side share the y axis.
    """
    widest = look.column / (_NARROWEST * look.em)
    across = next(n for n in range(count if side else 1, 0, -1) if n == 1 or (n <= widest and count % n == 0))
    rows = count // across
    tall = min(max(_ASPECT * look.column / across / look.em, _LOWEST), _HIGHEST) if height is None else height
    columns, lines = _legend_shape(look, handles)
    figure = Figure(figsize=(look.column, (rows * tall + lines * _LEGEND_LINE) * look.em), layout="constrained")
    grid = figure.subplots(rows, across, squeeze=False, sharey=share_y)
    if handles:
        figure.legend(handles=list(handles), loc="outside lower center", ncols=columns)
    return figure, list(grid.ravel())


def named_rows(look: Look, names: Sequence[str]) -> tuple[list[str], float]:
    """Names of rows, wrapped to a third of the column, and the height of a panel with a row for each, in text sizes."""
    wrapped = [style.wrapped(name, look.letters(look.column / 3)) for name in names]
    tallest = max(name.count("\n") + 1 for name in wrapped)
    return wrapped, _AROUND_ROWS + len(names) * max(_LEAST_ROW, _LEGEND_LINE * tallest + 0.3)


def _legend_shape(look: Look, handles: Sequence[Artist]) -> tuple[int, int]:
    """(columns, lines of text) of a legend, whose labels are wrapped to the column on the way."""
    if not handles:
        return 1, 0
    room = look.letters(look.column - (_HANDLE + 1) * look.em)
    for handle in handles:
        handle.set_label(style.wrapped(str(handle.get_label()), room))
    texts = [str(handle.get_label()).split("\n") for handle in handles]
    widths = [look.em * _HANDLE + max(map(len, lines)) * look.em / look.letters_per_em for lines in texts]
    columns = next(n for n in range(min(5, len(handles)), 0, -1) if n == 1 or _total(widths, n) <= look.column)
    rows = math.ceil(len(handles) / columns)
    # The tallest column decides.
    return columns, max(sum(map(len, texts[i : i + rows])) for i in range(0, len(texts), rows))


def _total(widths: Sequence[float], columns: int) -> float:
    """Width of a legend whose entries fill columns one after the other, as matplotlib sets them."""
    least, more = divmod(len(widths), columns)
    total, start = 0.0, 0
    for column in range(columns):
        stop = start + least + (column < more)
        total += max(widths[start:stop])
        start = stop
    return total
