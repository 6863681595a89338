"""The page: sound without a browser, and in a headless Chromium with no network."""

import base64
import html.parser
import itertools
import json
import re
from pathlib import Path

import pytest

from snrkit.report.build import build
from snrkit.report.page import dark, write_page
from snrkit.report.save import Destination
from snrkit.report.style import COLUMNS
from tests.report.browser import Browser, browser, missing
from tests.support.results import advice, draws, make_run, readings, slopes

pytestmark = pytest.mark.slow

# The browser's pictures stay here to be looked at; git ignores the folder.
SHOTS = Path(__file__).parents[2] / ".pytest_cache" / "page"
NARROW, WIDE = 390, 1100


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page of two runs with everything measured."""
    folder = tmp_path_factory.mktemp("page")
    files = make_run(folder / "runs", "demo", "iwae")
    make_run(folder / "runs", "other & <odd>", "vae")
    readings().assign(run="demo").pipe(lambda table: _write(files.snr, table))
    slopes().drop(columns="source").to_csv(files.path / "snr.slopes.csv", index=False)
    draws().to_parquet(files.path / "snr.draws.parquet", index=False)
    found = advice()
    answers = found["reasons"].iloc[0]
    content = {"run": "demo", "step": 600, "data": "digits", "budget": 64, "draws": 400, "recommendations": answers,
               "table": found.drop(columns=["reasons", "best_for"]).to_dict("records")}  # fmt: skip
    (files.path / "advice.json").write_text(json.dumps(content))
    to = Destination(folder / "out", ("snrkit", "report"), COLUMNS["icml"])
    return write_page(build([folder / "runs"], to))


def _write(path, table):
    from snrkit.runs.kinds.snr import SNR

    SNR.write(path, table[list(SNR.columns)])


class Outline(html.parser.HTMLParser):
    """Tags with their attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page.read_text())


def test_nothing_from_outside(page, outline):
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert not outline.all("script", "link", "iframe", "object")
    addresses = [value for _, own in outline.tags for key, value in own.items() if key in ("src", "href", "xlink:href")]
    assert all(address.startswith(("#", "data:text/csv")) for address in addresses)
    assert "url(http" not in text
    assert "@import" not in text


def test_structure(outline):
    assert outline.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in outline.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(outline.all(landmark)) == 1
    identities = [own["id"] for _, own in outline.tags if "id" in own]
    assert len(identities) == len(set(identities))
    assert len(outline.all("caption")) == len(outline.all("table")) > 2
    assert all(own.get("scope") in ("col", "row") for own in outline.all("th"))


def test_every_figure_has_its_words_data_and_provenance(page, outline):
    text = page.read_text()
    figures = sorted(path.stem for path in page.parent.glob("*.svg"))
    assert len(figures) > 8
    pictures = [own for own in outline.all("svg") if own.get("role") == "img"]
    assert len(pictures) == len(figures)
    assert all(len(own["aria-label"]) > 60 for own in pictures)
    links = {own["download"]: own["href"] for own in outline.all("a") if "download" in own}
    for name in figures:
        twin = base64.b64decode(links[f"{name}.csv"].partition(",")[2])
        assert twin == (page.parent / f"{name}.csv").read_bytes()
        sidecar = json.loads((page.parent / f"{name}.meta.json").read_text())
        assert all(source["sha256"] in text for source in sidecar["inputs"])
    assert "other &amp; &lt;odd&gt;" in text


def test_same_page_again(page):
    before = page.stat().st_mtime_ns
    to = Destination(page.parent, ("snrkit", "report"), COLUMNS["icml"])
    assert write_page(build([page.parent.parent / "runs"], to)).stat().st_mtime_ns == before


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_on_a_dark_page_stand_out():
    from snrkit.report.style import DARK_GREY, ESTIMATORS, GREY

    ground = luminance(dark("#ffffff"))
    for colour in ("#000000", GREY, DARK_GREY, *(entry[0] for entry in ESTIMATORS.values())):
        # WCAG 1.4.11: graphics at least 3 to 1.
        assert (luminance(dark(colour)) + 0.05) / (ground + 0.05) >= 3, colour


@pytest.fixture(scope="module")
def chromium(page, tmp_path_factory):
    if missing():
        pytest.skip(missing())
    with browser(tmp_path_factory.mktemp("profile")) as session:
        session.open(page)
        yield session


def test_loads_without_network_or_complaint(page, chromium: Browser):
    chromium.console(), chromium.requests()
    chromium.open(page)
    assert chromium.run("return document.readyState") == "complete"
    assert chromium.console() == []
    assert [url for url in chromium.requests() if not url.startswith(("file:", "data:"))] == []


def test_figures_have_a_size(chromium: Browser):
    chromium.look("light", WIDE)
    boxes = chromium.run(
        "return [...document.querySelectorAll('svg[role=img]')]"
        ".map(e => e.getBoundingClientRect()).map(b => [b.width, b.height])"
    )
    assert boxes
    assert all(width > 300 and height > 100 for width, height in boxes)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_fits_the_screen(chromium: Browser, scheme, width):
    chromium.look(scheme, width)
    assert chromium.run("return document.documentElement.scrollWidth") <= width
    ground = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(22, 25, 29)")
    SHOTS.mkdir(parents=True, exist_ok=True)
    shot = SHOTS / f"{scheme}-{width}.png"
    chromium.screenshot(shot)
    assert shot.stat().st_size > 20_000


def test_keyboard_reaches_what_scrolls_and_folds(chromium: Browser):
    unreachable = chromium.run(
        "return [...document.querySelectorAll('a, summary, .scroll')].filter(e => e.tabIndex < 0).length"
    )
    assert unreachable == 0
    assert chromium.run("return document.querySelector('a').textContent") == "Skip to the content"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium: Browser, axe, scheme):
    chromium.look(scheme, WIDE)
    chromium.run(axe)
    found = chromium.run("return axe.run(document).then(r => r.violations.map(v => [v.impact, v.id, v.nodes.length]))")
    assert [entry for entry in found if entry[0] in ("serious", "critical")] == []
