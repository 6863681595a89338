"""What a figure or a table hands over to be saved."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A drawn figure.

    Attributes:
        figure: the figure.
        data: exactly the plotted numbers.
        caption: what is shown, with definitions.
        inputs: the files the numbers come from.
        notes: what was left out and why, a line each.
    """

    figure: Figure
    data: pd.DataFrame
    caption: str
    inputs: tuple[Path, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sheet:
    """A table, as texts by file ending.

    Attributes:
        texts: ``{"csv": ..., "md": ..., "tex": ...}``.
        caption: what is shown.
        inputs: the files the numbers come from.
    """

    texts: dict[str, str]
    caption: str
    inputs: tuple[Path, ...]


@dataclass(frozen=True)
class Missing:
    """A figure or table that has nothing to show.

    Attributes:
        reason: what is missing and which command makes it, in a line.
    """

    reason: str
