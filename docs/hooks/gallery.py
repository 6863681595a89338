"""Pictures of the gallery and of other pages: the committed figures, with the words beside them and their commands."""

import html
import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "figures"
_MARK = "<!-- gallery -->"


def sidecars() -> list[Path]:
    """Of all committed figures."""
    return [path for path in sorted(FIGURES.rglob("*.meta.json")) if picture(path).exists()]


def picture(sidecar: Path) -> Path:
    """The picture that a sidecar belongs to."""
    return sidecar.with_name(sidecar.name.replace(".meta.json", ".png"))


def gallery() -> str:
    """A heading for every folder, and every figure in it."""
    parts: list[str] = []
    folder = None
    for sidecar in sidecars():
        if sidecar.parent != folder:
            folder = sidecar.parent
            parts.append(f"## {folder.name}\n")
        known = json.loads(sidecar.read_text(encoding="utf-8"))
        place = picture(sidecar).relative_to(ROOT).as_posix()
        alt = html.escape(known["alt"], quote=True).replace("\n", " ").replace("[", "(").replace("]", ")")
        command = " ".join(known["command"])
        parts += [
            f"### {known['title']} ({folder.name})\n",
            f"![{alt}]({place}){{ loading=lazy }}\n",
            f"{html.escape(known['caption'], quote=False)}\n".replace("*", "\\*").replace("_", "\\_"),
            f'```text title="made by"\n{command}\n```\n',
        ]
    return "\n".join(parts)


def on_files(files: Any, *, config: Any) -> Any:
    """Called by mkdocs: the committed pictures are part of the site."""
    for sidecar in sidecars():
        path = picture(sidecar)
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page."""
    return markdown.replace(_MARK, gallery()) if _MARK in markdown else markdown
