"""Links between pages lead somewhere, and what the reference lists is what there is."""

import importlib.util
import re

import pytest

import snrkit
from snrkit.cli.listing import estimators
from snrkit.cli.main import Commands
from snrkit.estimators import ESTIMATORS
from snrkit.models import MODELS
from snrkit.report.figures import FIGURES
from snrkit.runs.kinds import KINDS
from snrkit.runs.metrics import METRICS
from tests.docs.pages import PAGES, ROOT, name

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
REFERENCE = ROOT / "docs" / "reference"


def hook(which):
    """A module of docs/hooks, which is no package."""
    spec = importlib.util.spec_from_file_location(which, ROOT / "docs" / "hooks" / f"{which}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page):
    """Identities of a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_pages_and_headings_that_are_there(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists():  # the site has the committed figures
            target = ROOT / "figures" / place.partition("figures/")[2]
        assert target.is_file(), (link, target)
        assert not anchor or anchor in anchors(target), link


def test_every_page_of_the_site_is_in_its_navigation():
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.parent != ROOT}


def test_nothing_is_read_from_the_network():
    for path in [ROOT / "mkdocs.yml", *(ROOT / "docs" / "assets").iterdir()]:
        text = re.sub(r"^(//.*|/\*.*?\*/)$", "", path.read_text(), flags=re.M | re.S)
        assert "http" not in text, path


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("estimators", ESTIMATORS.names),
        ("models", MODELS.names),
        ("metrics", METRICS.names),
        ("figures", FIGURES.names),
        ("columns", KINDS.names),
        ("commands", Commands.TABLE),
        ("python", snrkit.__all__),
        ("python", snrkit.plot.__all__),
    ],
)
def test_the_reference_has_everything_that_there_is(page, names):
    text = hook("generated").filled((REFERENCE / f"{page}.md").read_text(encoding="utf-8"))
    for one in names:
        assert re.search(rf"(`|## |snrkit |\.){re.escape(one)}(`|:|\n| )", text), one


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=name)
def test_no_cell_of_a_generated_table_is_split(page):
    text = hook("generated").filled(page.read_text(encoding="utf-8"))
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        plain = re.sub(r"`[^`]*`", "code", table)  # in which a line is no end of a cell
        ends = {len(re.findall(r"(?<!\\)\|", row)) for row in plain.splitlines()}
        assert len(ends) == 1, table


def test_everything_generated_has_its_place():
    marks = re.findall(r"<!-- generated: (\w+) -->", "".join(page.read_text() for page in PAGES))
    assert sorted(marks) == sorted(hook("generated").MAKERS)


def test_every_verdict_is_in_the_faq():
    heads = anchors(ROOT / "docs" / "faq.md")
    slopes = (ROOT / "snrkit" / "diagnostics" / "slopes.py").read_text()
    found = re.findall(r'"(agrees|disagrees|not in the asymptotic regime|cannot tell)"', slopes)
    assert len(set(found)) == 4
    for verdict in {*found, "cannot tell more draws needed", "the same gradient", "is larger", "partial"}:
        assert verdict.replace(" ", "-") in heads, verdict


def test_an_error_in_a_tutorial_ends_the_build():
    notebook = hook("notebook")
    text, cells = notebook.executed("Words.\n\n```python\nx = 2\nprint(x)\nx + 1\n```\n", "page")
    assert "Words." in text
    assert 'title="printed"\n2\n' in text
    assert "<pre>3</pre>" in text
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code"]
    assert [output["output_type"] for output in cells[1]["outputs"]] == ["stream", "display_data"]
    with pytest.raises(ZeroDivisionError):
        notebook.executed("```python\n1 / 0\n```\n", "page")


def test_the_estimators_named_for_discrete_latents_are_all_there_are():
    text = (ROOT / "docs" / "howto" / "choose-an-estimator.md").read_text(encoding="utf-8")
    named = text.split("says *any* are right:")[1].split(". Others")[0]
    assert set(re.findall(r"`([\w-]+)`", named)) == {row["estimator"] for row in estimators() if row["z"] == "any"}


def test_other_packages_are_compared_at_a_commit_and_a_date():
    text = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    assert (
        len(re.findall(r"^\| \[", text, re.M))
        == len(re.findall(r"^\| \[\w+\]\(https://\S+\) \([0-9a-f]{7}\) ", text, re.M))
        > 3
    )
    assert re.search(r"^Last looked at: \w+ 20\d\d\.$", text, re.M)


def test_every_adapter_and_callback_has_its_place_on_a_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.parent.name == "howto")
    for said in [
        *(one for one in snrkit.__all__ if one.startswith(("from_", "pyro_"))),
        "snrkit.lightning",
        "snrkit.transformers",
        "--model",
    ]:
        assert said in text, said
