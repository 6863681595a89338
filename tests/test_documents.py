"""What the documents say of the tree is so."""

import configparser
import pkgutil
import re
from pathlib import Path

import pytest

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
