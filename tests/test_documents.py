"""What the documents say of the tree is so."""

import configparser
import pkgutil
import re
from pathlib import Path

import pytest

import snrkit

ROOT = Path(__file__).parents[1]
# What a path in CONTRIBUTING.md is relative to, and the letters in it that stand for a name of the reader's.
PLACES, STAND_INS = (ROOT, ROOT / "snrkit"), ("NAME", "FAMILY")
FILES = r"`([\w./*-]+\.(?:py|cfg|yml|md)|(?:tests|examples|analyses)/[\w./-]+)`"
MOVED = re.findall(r"^\| .* \| `(snrkit[\w.]+)`", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_one_version_everywhere():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    version = setup["metadata"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version


def test_contributing_names_files_that_are_there():
    words = set(re.findall(FILES, (ROOT / "CONTRIBUTING.md").read_text()))
    assert len(words) > 15
    for word in words:
        path = Path(word) if not any(name in word for name in STAND_INS) else Path(word).parent
        assert any((place / path).exists() for place in PLACES), word


@pytest.mark.parametrize("moved", MOVED)
def test_what_moved_is_where_the_changelog_says(moved):
    assert pkgutil.resolve_name(moved)


def test_the_words_of_contributing_are_those_of_the_code():
    words = (ROOT / "CONTRIBUTING.md").read_text().split("## Words")[1].split("\n## ")[0]
    names = re.findall(r"`([a-z]\w*(?:\.\w+)+)`", words)
    assert len(names) > 20
    for name in names:
        assert pkgutil.resolve_name(f"snrkit.{name}")


def test_a_long_module_says_why():
    for path in (ROOT / "snrkit").rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 300 or "Longer than other modules" in text.split('"""')[1], path


def test_every_public_name_is_imported_from_where_it_is():
    assert sorted(snrkit._HOME) == sorted(snrkit.__all__)
    for name in snrkit.__all__:
        assert getattr(snrkit, name).__name__.removeprefix("snrkit.") == name  # a package can be called too
        assert f"``{name}``" in snrkit.__doc__


def test_analyses_give_commands_that_there_are():
    pages = [page.read_text() for page in (ROOT / "analyses").rglob("*.md")]
    commands = {found for page in pages for found in re.findall(r"python -m analyses\.(\w+)\.run ([a-z_]+)", page)}
    assert len(commands) > 20
    for folder, section in commands:
        text = "".join(path.read_text() for path in (ROOT / "analyses" / folder).rglob("*.py"))
        assert re.search(rf"\b{section}\b", text), (folder, section)


def test_the_picture_of_the_layers_is_the_contract():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    contract = setup["importlinter:contract:layers"]["layers"].replace("snrkit.", "").split("\n")[1:]
    picture = (ROOT / "CONTRIBUTING.md").read_text().split("## The layers")[1].split("\n## ")[0]
    drawn = [re.split(r"\s{2,}", line.strip())[0] for line in picture.split("\n") if line.startswith("    ")]
    assert drawn[:-1] == contract[: len(drawn) - 1]
    assert set(drawn[-1].split(", ")[:-1]) <= set(contract[len(drawn) - 1 :])
