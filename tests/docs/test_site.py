"""The site as it is built: strict, in time, and sound in a real browser at phone and desktop width, without network."""

import html.parser
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import PAGES, ROOT, is_notebook
from tests.report.browser import Browser, browser, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs the extra snrkit[docs]"),
]

SHOTS = ROOT / ".pytest_cache" / "site"
BUILT = ROOT / "build" / "site"
NARROW, WIDE = 390, 1280
MOST_SECONDS = 120


def is_fresh() -> bool:
    """Whether ``make docs`` was called since anything that the site is made of changed."""
    if not (BUILT / "sitemap.xml").exists():
        return False
    sources = [ROOT / "mkdocs.yml", *(ROOT / "docs").rglob("*"), *(ROOT / "snrkit").rglob("*.py")]
    return max(path.stat().st_mtime for path in sources) < (BUILT / "sitemap.xml").stat().st_mtime


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site: what ``make docs`` left, or else built now."""
    if is_fresh():
        return BUILT
    folder = tmp_path_factory.mktemp("site")
    start = time.perf_counter()
    places = os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, check=False, cwd=ROOT, env=places, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - start < 3 * MOST_SECONDS, "a machine at rest needs less than two minutes"
    return folder


class Tags(html.parser.HTMLParser):
    """Tags of a page with their attributes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def parsed(site) -> dict[Path, list]:
    return {path: Tags(path).tags for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_every_page_is_there(site, parsed):
    names = {path.relative_to(site).with_suffix("").as_posix() for path in parsed}
    assert names == {p.relative_to(ROOT / "docs").with_suffix("").as_posix() for p in PAGES if p.parent != ROOT}
    for page in PAGES:
        if is_notebook(page) and page.parent != ROOT:
            assert (site / page.relative_to(ROOT / "docs")).with_suffix(".ipynb").exists()


def test_the_reference_has_what_public_classes_inherit(parsed):
    [page] = [tags for path, tags in parsed.items() if path.name == "python.html"]
    ids = {own["id"] for _, own in page if own.get("id")}
    assert {f"snrkit.run.Run.{name}" for name in ("open", "points", "measure", "sample", "interpolate", "on")} <= ids
    assert "snrkit.specs.measure.MeasureSpec.replaced" in ids


def test_every_link_inside_leads_somewhere(site, parsed):
    ids = {path: {own["id"] for _, own in tags if own.get("id")} for path, tags in parsed.items()}
    for path, tags in parsed.items():
        for tag, own in tags:
            link = own.get("href") if tag in ("a", "link") else own.get("src")
            if not link or link.startswith(("https://", "http://", "data:", "mailto:")):
                continue
            place, _, anchor = link.partition("#")
            target = (path.parent / unquote(place)).resolve() if place else path
            assert target.exists(), (path, link)
            if anchor and target in ids and not anchor.startswith("__"):
                assert unquote(anchor) in ids[target], (path, link)


def test_nothing_is_asked_of_the_network(parsed):
    for path, tags in parsed.items():
        for tag, own in tags:
            if tag in ("script", "img", "iframe", "source"):
                assert not own.get("src", "").startswith(("http", "//")), (path, own)
            if tag == "link" and own.get("rel") != "canonical":
                assert not own.get("href", "").startswith(("http", "//")), (path, own)


def test_every_picture_has_words(parsed):
    for path, tags in parsed.items():
        for tag, own in tags:
            if tag == "img":
                assert len(own.get("alt", "")) > 20, (path, own.get("src", "")[:80])


def test_no_mark_of_markdown_is_left_to_be_seen(site, parsed):
    for path in parsed:
        text = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.S)
        seen = re.sub(r"<[^>]*>", "", text)
        assert not re.findall(r"\\[^\w\s]|\*\*|<!--|`|\]\(", seen), path


@pytest.fixture(scope="module")
def chromium(site, tmp_path_factory):
    if missing():
        pytest.skip(missing())
    with browser(tmp_path_factory.mktemp("profile")) as session:
        session.open(site / "index.html")
        yield session


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_pages_fit_ask_for_nothing_and_are_accessible(site, parsed, chromium: Browser, axe, scheme, width):
    SHOTS.mkdir(parents=True, exist_ok=True)
    wrong = []
    for path in parsed:
        chromium.console(), chromium.requests()
        chromium.look(scheme, width)
        chromium.run("localStorage.clear()")  # the last choice of colours
        chromium.open(path)
        ground = chromium.run("return document.body.dataset.mdColorScheme")
        assert ground == {"light": "default", "dark": "slate"}[scheme]
        name = path.relative_to(site).as_posix()
        wrong += [(name, line) for line in chromium.console()]
        wrong += [
            (name, url) for url in chromium.requests() if not url.startswith(("file:", "data:", "blob:", "chrome:"))
        ]
        across = chromium.run("return document.documentElement.scrollWidth")
        wrong += [(name, f"{across} pixels wide")] if across > width else []
        chromium.run(axe)
        found = chromium.run(
            "return axe.run(document).then(r => r.violations.map(v => [v.impact, v.id, v.nodes[0].html]))"
        )
        wrong += [(name, *entry) for entry in found if entry[0] in ("serious", "critical")]
        chromium.screenshot(SHOTS / f"{scheme}-{width}-{name.replace('/', '-')}.png")
    assert wrong == []


def test_the_search_finds_without_a_server(site, chromium: Browser):
    chromium.look("light", WIDE)
    chromium.open(site / "index.html")
    script = (
        "const box = document.querySelector('[data-md-component=search-query]'); box.focus(); box.value = 'floor';"
        "box.dispatchEvent(new Event('input', {bubbles: true})); box.dispatchEvent(new KeyboardEvent('keyup'));"
        "return new Promise(done => { let left = 60; const look = () => {"
        "const found = document.querySelectorAll('.md-search-result__item').length;"
        "if (found || !left--) done(found); else setTimeout(look, 250); }; look(); })"
    )
    assert chromium.run(script) > 1
    assert chromium.run("return Worker.name") == "FrameWorker"


def test_the_keyboard_reaches_what_scrolls(site, chromium: Browser):
    chromium.look("light", NARROW)
    chromium.open(site / "reference" / "estimators.html")
    left = (
        "return [...document.querySelectorAll('.md-typeset__scrollwrap, .md-typeset pre > code, .output')]"
        ".filter(e => e.scrollWidth > e.clientWidth && e.tabIndex < 0).length"
    )
    assert chromium.run(left) == 0
