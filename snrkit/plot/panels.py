"""What a drawn figure is in a notebook: its axes, with its words beside them."""

import base64
import html
import io
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snrkit.errors import SpecError
from snrkit.files import write_bytes
from snrkit.report import style
from snrkit.report.drawing import Drawing
from snrkit.report.style import Look

# Pixels of a page to an inch, and how many more a picture has, to be sharp on any screen.
_PIXELS, _SHARPER = 96, 2


class Panels(tuple[Axes, ...]):
    """The axes of a figure, one per panel, to be changed as one likes; a notebook shows the figure with its caption.

    No state of ``matplotlib.pyplot`` is touched.

    Attributes:
        figure: the figure.
        data: exactly the plotted numbers.
        caption: what is shown, where and with how many draws.
        alt: what a reader who cannot see it would want to be told.
        notes: what was left out and why, a line each.
    """

    figure: Figure
    data: pd.DataFrame
    caption: str
    alt: str
    notes: tuple[str, ...]
    _look: Look

    def __new__(cls, drawing: Drawing, look: Look) -> "Panels":
        """The panels of a drawing that was made in a look."""
        own = super().__new__(cls, drawing.figure.axes)
        own.figure, own.data, own._look = drawing.figure, drawing.data, look
        own.caption, own.alt, own.notes = drawing.caption, drawing.alt, drawing.notes
        return own

    def __reduce__(self) -> tuple[type["Panels"], tuple[Drawing, Look]]:
        """For ``pickle`` and ``copy``: the axes are those of the figure, which goes along."""
        return type(self), (Drawing(self.figure, self.data, self.caption, self.alt, self.notes), self._look)

    def save(self, path: str | Path) -> Path:
        """Write the figure as its file name ends: ``.pdf``, ``.svg``, ``.png`` and whatever else matplotlib writes.

        Raises:
            SpecError: matplotlib writes no such files.
            OutputError: the file cannot be written.
        """
        target = Path(path)
        ending = target.suffix.removeprefix(".")
        known = self.figure.canvas.get_supported_filetypes()
        if ending not in known:
            raise SpecError("path", f"'{path}' has no ending of a picture", f"choose from {', '.join(sorted(known))}")
        write_bytes(target, self._rendered(ending, self._look.dpi))
        return target

    def _rendered(self, ending: str, dpi: int) -> bytes:
        stream = io.BytesIO()
        with style.context(self._look):
            self.figure.savefig(stream, format=ending, dpi=dpi)
        return stream.getvalue()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self._rendered("png", _SHARPER * _PIXELS)).decode()
        width = round(_PIXELS * float(self.figure.get_figwidth()))
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return (
            f'<figure style="margin:0;max-width:{width}px"><img style="max-width:100%;background:white" width="{width}" '
            f'src="data:image/png;base64,{picture}" alt="{html.escape(self.alt)}">'
            f"<figcaption>{html.escape(self.caption)}</figcaption>{notes}</figure>"
        )

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What a terminal is shown."""
        del cycle
        printer.text(repr(self))

    def __repr__(self) -> str:
        return f"<{len(self)} panels: {self.alt}>"
