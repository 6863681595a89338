"""Where files are looked for, and what verification makes of them."""

import gzip
import hashlib
from pathlib import Path

import pytest

from snrkit.data import folder
from snrkit.data.base import DataFile, Source

GOOD = b"the right bytes"
FILE = DataFile("points", hashlib.sha256(GOOD).hexdigest())
OPEN = DataFile("unknown", None)


def source(*files, alternatives=False):
    return Source("some", "text", "grey", lambda _spec, _folder: None, files=files, alternatives=alternatives)


def test_folder_is_the_explicit_one_then_the_variable_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SNRKIT_DATA", str(tmp_path / "variable"))
    assert folder.data_folder(tmp_path) == tmp_path
    assert folder.data_folder(None) == tmp_path / "variable"
    for unset in (lambda: monkeypatch.setenv("SNRKIT_DATA", ""), lambda: monkeypatch.delenv("SNRKIT_DATA")):
        unset()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        assert folder.data_folder(None).name == "snrkit"
        assert not folder.data_folder(None).exists()


def test_own_subfolder_first_and_raw_before_packed(tmp_path):
    places = [Path("points.gz"), Path("points"), Path("some/points.gz"), Path("some/points")]
    (tmp_path / "some").mkdir()
    assert folder.find(tmp_path, "some", "points") is None
    for place in places:
        (tmp_path / place).write_bytes(GOOD)
        assert folder.find(tmp_path, "some", "points") == tmp_path / place


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (GOOD, "ok"),
        (gzip.compress(GOOD, mtime=0), "ok"),
        (GOOD[:-1], "differs"),
        (gzip.compress(GOOD, mtime=0)[:-1], "differs"),
        (None, "missing"),
    ],
)
def test_check_compares_unpacked_bytes(tmp_path, content, state):
    if content is not None:
        (tmp_path / "points.gz").write_bytes(content)
    assert folder.check(tmp_path, "some", FILE).state == state


def test_all_files_are_needed_unless_they_are_alternatives(tmp_path):
    other = DataFile("other", FILE.sha256)
    (tmp_path / "points").write_bytes(GOOD)
    every, either = source(FILE, other), source(FILE, other, alternatives=True)
    assert not folder.is_usable(every, folder.verify(every, tmp_path))
    assert folder.is_usable(either, folder.verify(either, tmp_path))
    assert folder.whereabouts(every, tmp_path) is None
    assert folder.whereabouts(either, tmp_path) == str(tmp_path)
    (tmp_path / "other").write_bytes(b"wrong")
    assert not folder.is_usable(either, folder.verify(either, tmp_path))


def test_a_file_without_known_checksum_is_usable_but_not_called_ok(tmp_path):
    lone = source(OPEN, alternatives=True)
    assert not folder.is_usable(lone, folder.verify(lone, tmp_path))
    (tmp_path / "unknown").write_bytes(b"anything")
    assert folder.verify(lone, tmp_path)[0].state == "unchecked"
    assert folder.is_usable(lone, folder.verify(lone, tmp_path))
