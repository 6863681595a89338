"""Write a figure in its formats, with the plotted numbers as CSV and a sidecar that says where they come from."""

import hashlib
import io
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from matplotlib.figure import Figure

from snrkit.report.drawing import Drawing, Sheet
from snrkit.results import write_bytes, write_json, write_text

PNG_DPI = 200

# No dates: the same input must give the same bytes.
_METADATA: dict[str, dict[str, str | None]] = {
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
    "png": {},
}


def save_drawing(name: str, drawing: Drawing, out: Path, command: Sequence[str]) -> list[Path]:
    """Write a figure as PDF, SVG and PNG, with its CSV twin and its sidecar.

    Args:
        name: file name without ending.
        drawing: the figure.
        out: folder to write to.
        command: the command line, for the sidecar.

    Returns:
        The files written.

    Raises:
        OutputError: a file cannot be written.
    """
    written = []
    for ending, metadata in _METADATA.items():
        written.append(out / f"{name}.{ending}")
        write_bytes(written[-1], render(drawing.figure, ending, metadata))
    written.append(out / f"{name}.csv")
    write_text(written[-1], drawing.data.to_csv(index=False, lineterminator="\n"))
    return [*written, _save_sidecar(name, drawing, out, command)]


def save_sheet(name: str, sheet: Sheet, out: Path, command: Sequence[str]) -> list[Path]:
    """Write a table in its formats, with its sidecar; arguments as for ``save_drawing``.

    Raises:
        OutputError: a file cannot be written.
    """
    written = []
    for ending, text in sheet.texts.items():
        written.append(out / f"{name}.{ending}")
        write_text(written[-1], text)
    return [*written, _save_sidecar(name, sheet, out, command)]


def render(figure: Figure, ending: str, metadata: dict[str, str | None]) -> bytes:
    """The bytes of a figure file."""
    stream = io.BytesIO()
    figure.savefig(stream, format=ending, dpi=PNG_DPI, metadata=metadata)
    return stream.getvalue()


def _save_sidecar(name: str, made: Drawing | Sheet, out: Path, command: Sequence[str]) -> Path:
    # Not NAME.json: an "evaluation.json" beside figures would look like that of a run.
    path = out / f"{name}.meta.json"
    inputs = [{"path": str(source), "sha256": _digest(source)} for source in made.inputs]
    packages = {package: version(package) for package in ("snrkit", "matplotlib", "numpy", "pandas")}
    content = {
        "caption": made.caption,
        "command": list(command),
        "inputs": inputs,
        "notes": list(made.notes) if isinstance(made, Drawing) else [],
        "versions": packages | {"python": platform.python_version()},
    }
    write_json(path, content)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
