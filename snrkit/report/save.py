"""Write figures and tables in their formats, each with a sidecar that says where it comes from; skip what is up to date."""

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from snrkit.errors import ResultsError
from snrkit.files import inside, read_json, write_bytes, write_json, write_text
from snrkit.report.drawing import Drawing, FigureKind, Sheet
from snrkit.report.escape import csv, visible
from snrkit.report.style import Look
from snrkit.report.unchanged import digest, digest_of, made_by, versions

# No dates: the same input must give the same bytes.
_METADATA: dict[str, dict[str, str | None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


@dataclass(frozen=True)
class Destination:
    """Where and by whose order things are written.

    Attributes:
        out: folder to write to.
        command: the command line, for the sidecars.
        look: sizes.
    """

    out: Path
    command: tuple[str, ...]
    look: Look

    def sidecar(self, name: str) -> Path:
        """The sidecar of a figure or table."""
        # Not NAME.json: an "evaluation.json" beside figures would look like that of a run.
        return self.out / f"{name}.meta.json"


def current(name: str, inputs: Sequence[Path], to: Destination) -> dict[str, Any] | None:
    """The sidecar of what was made from the same inputs in the same way and is still there whole, or None."""
    path = to.sidecar(name)
    if not path.exists():
        return None
    try:
        content = read_json(path)
        same = content["key"] == _key(inputs, to)
        whole = all(digest(inside(to.out, file)) == expected for file, expected in content["outputs"].items())
    except (ResultsError, OSError, KeyError, TypeError, AttributeError):
        return None
    return dict(content) if same and whole else None


def _key(inputs: Sequence[Path], to: Destination) -> str:
    """Digest of everything that decides the bytes of an output."""
    return digest_of([to.look.name, *made_by(), *to.command, *(f"{path} {digest(path)}" for path in inputs)])


def save_drawing(
    name: str, drawing: Drawing, inputs: Sequence[Path], to: Destination, kind: FigureKind | None = None
) -> dict[str, Any]:
    """Write a figure as PDF, SVG and PNG, with the plotted numbers as CSV and its sidecar, which is returned.

    Raises:
        OutputError: a file cannot be written.
    """
    contents = {f"{name}.{ending}": render(drawing.figure, ending, to.look.dpi) for ending in _METADATA}
    contents[f"{name}.csv"] = _harmless(drawing.data).to_csv(index=False, lineterminator="\n").encode()
    words: dict[str, Any] = {"caption": drawing.caption, "alt": drawing.alt, "notes": list(drawing.notes)}
    if kind is not None:
        words |= {"title": kind.title, "definition": kind.definition, "uncertainty": kind.uncertainty}
    return _save(name, contents, words, inputs, to)


def _harmless(data: pd.DataFrame) -> pd.DataFrame:
    """The table with its texts as a spreadsheet may read them."""
    texts = [name for name in data if not pd.api.types.is_numeric_dtype(data[name])]
    found = {name: data[name].map(lambda value: csv(value) if isinstance(value, str) else value) for name in texts}
    return data.assign(**{str(name): column for name, column in found.items()})


def save_sheet(name: str, sheet: Sheet, inputs: Sequence[Path], to: Destination) -> dict[str, Any]:
    """Write a table in its formats, with its sidecar, which is returned.

    Raises:
        OutputError: a file cannot be written.
    """
    contents = {f"{name}.{ending}": text.encode() for ending, text in sheet.texts.items()}
    words = {"title": sheet.caption, "notes": list(sheet.notes)}
    return _save(name, contents, words, inputs, to)


def _save(
    name: str, contents: Mapping[str, bytes], words: dict[str, Any], inputs: Sequence[Path], to: Destination
) -> dict[str, Any]:
    for file, content in contents.items():
        write_bytes(to.out / file, content)
    sidecar = words | {
        "column": to.look.name,
        "command": [visible(word) for word in to.command],
        "inputs": [{"path": visible(str(path)), "sha256": digest(path)} for path in inputs],
        "key": _key(inputs, to),
        "outputs": {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()},
        "versions": versions(),
    }
    write_json(to.sidecar(name), sidecar)
    return sidecar


def render(figure: Figure, ending: str, dpi: int) -> bytes:
    """The bytes of a figure file."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        _settle(figure)
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # A name in letters that the fonts lack is drawn with boxes for them.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(stream, format=ending, dpi=dpi, metadata=_METADATA[ending])
    content = stream.getvalue()
    return _tidy(content) if ending == "svg" else content


def _settle(figure: Figure) -> None:
    """Lay a figure out once and for all: the solver's last bits differ from call to call, and from format to format."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(part, 5) for part in axes.get_position(original=True).bounds])  # type: ignore[arg-type]


def _tidy(svg: bytes) -> bytes:
    """An SVG without the ids that nothing refers to (several lines may bear the same) and without blanks at line ends."""
    used = set(re.findall(rb'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(rb' id="([^"]*)"', lambda found: found[0] if found[1] in used else b"", svg)
    return b"\n".join(line.rstrip() for line in svg.split(b"\n"))


def save_text(path: Path, text: str) -> None:
    """Write a text file, unless it holds this text already.

    Raises:
        OutputError: it cannot be written.
    """
    if not (path.exists() and path.read_bytes() == text.encode()):
        write_text(path, text)
