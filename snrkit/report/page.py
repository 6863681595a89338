"""One self-contained HTML page that tells the story: inline SVG, embedded data, no script, no network."""

import base64
import colorsys
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from snrkit.report.build import Report
from snrkit.report.drawing import SECTIONS, Sheet
from snrkit.report.escape import visible
from snrkit.report.figures import FIGURES
from snrkit.report.save import save_text
from snrkit.report.sheets import SHEETS
from snrkit.report.story import advice, story, trained

FILE = "report.html"

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_WIDTH = re.compile(r'<svg\b[^>]*?width="([0-9.]+)pt"')
_ENLARGED = 1.7
_POINTS_PER_PIXEL = 0.75


@dataclass(frozen=True)
class Picture:
    """A figure as the page shows it."""

    name: str
    words: dict[str, Any]
    svg: Markup
    data: str


@dataclass(frozen=True)
class Section:
    """A part of the story."""

    key: str
    heading: str
    sentences: list[str]
    pictures: list[Picture]
    sheets: list[tuple[str, Sheet, dict[str, Any], str]]


def write_page(report: Report) -> Path:
    """Write the page beside the figures, unless it is up to date; returns its path.

    Raises:
        OutputError: it cannot be written.
    """
    path = report.to.out / FILE
    save_text(path, render_page(report))
    return path


def render_page(report: Report) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("snrkit.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    pictures = {name: _picture(name, words, report.to.out) for name, words in report.figures.items()}
    used = sorted({colour.lower() for picture in pictures.values() for colour in _variables(picture.svg)})
    return environment.get_template("page.html").render(
        sections=[section for section in _sections(report, pictures) if not _is_empty(section)],
        missing=report.missing,
        command=visible(" ".join((*report.to.command, "--html"))),
        versions=next(iter(report.figures.values()), {}).get("versions", {}),
        colours=[(colour, "#" + colour, dark("#" + colour)) for colour in used],
    )


def _sections(report: Report, pictures: dict[str, Picture]) -> Iterable[Section]:
    told = story(report.tables) | {"advice": advice(report.tables)}
    runs = trained(report.tables)
    for key, heading in SECTIONS.items():
        own = [picture for name, picture in pictures.items() if FIGURES.load(name).section == key]
        sheets = [
            (name, sheet, sidecar, _data_link(sheet.texts["csv"]))
            for name, (sheet, sidecar) in report.sheets.items()
            if SHEETS[name].section == key
        ]
        if key == "training" and runs is not None:
            sheets.insert(0, ("runs", runs, {}, _data_link(runs.texts["csv"])))
        yield Section(key, heading, told.get(key, []), own, sheets)


def _is_empty(section: Section) -> bool:
    return not (section.pictures or section.sheets or section.sentences)


def _picture(name: str, words: dict[str, Any], out: Path) -> Picture:
    svg = (out / f"{name}.svg").read_text(encoding="utf-8")
    data = (out / f"{name}.csv").read_text(encoding="utf-8")
    return Picture(name, words, inline_svg(name, svg, f"{words['title']}. {words['alt']}"), _data_link(data))


def _data_link(text: str) -> str:
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.encode()).decode()


def inline_svg(name: str, svg: str, alternative: str) -> Markup:
    """An SVG file as an element of a page: unique ids, colours as variables (for dark pages), an alternative text.

    Args:
        name: prefix of its ids.
        svg: the file.
        alternative: what to tell a reader who cannot see it.
    """
    width = float(_WIDTH.search(svg)[1]) / _POINTS_PER_PIXEL  # type: ignore[index]
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = _ID.sub(rf"\g<1>{name}-", body)
    body = _COLOUR.sub(lambda found: f"var(--c{found[0][1:].lower()})", body)
    label = f'<svg role="img" aria-label="{escape(alternative)}" style="max-width: {_ENLARGED * width:.0f}px" '
    return Markup(body.replace("<svg ", label, 1))


def _variables(svg: str) -> list[str]:
    return re.findall(r"var\(--c([0-9a-f]{6})\)", svg)


def dark(colour: str) -> str:
    """The colour that stands for one on a dark page: greys turned over, the others made light with their hue."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    if saturation < 0.1:
        # White becomes the page (#16191d) and black nearly white.
        turned = 0.1 + 0.82 * (1 - light)
        return "#16191d" if light == 1 else _hex(turned, turned, turned)
    return _hex(*colorsys.hls_to_rgb(hue, 0.55 + 0.3 * light, min(saturation, 0.85)))


def _hex(*parts: float) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in parts)
