"""A user's own sentences: a text file with one on each line, or a folder with a file to train on and one to test on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit.backend.memory import require_memory
from snrkit.data.base import Dataset, Source
from snrkit.data.folder import digest, is_file, is_folder, read_unpacked
from snrkit.data.naming import file_label
from snrkit.data.tokens import Sentence, once, tokens_dataset, vocabulary, words_of
from snrkit.errors import DataError, SpecError

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec

# Bytes of memory that a byte of text takes as words of their own.
_WORDS = 20
_GIVE = "give a text file in UTF-8 with one sentence on each line"


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, which may be packed with gzip.

    Raises:
        DataError: no such file, one that cannot be read, or no text in UTF-8.
        ResourceError: its words cannot fit in memory.
    """
    if not is_file(path):
        raise DataError(str(path), "no such file", _GIVE)
    content = read_unpacked(path)
    require_memory("data.path", f"the words of {len(content):,} bytes of text", _WORDS * len(content), "give less text")
    if b"\0" in content:
        raise DataError(str(path), "is a binary file, not text", _GIVE)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(str(path), f"is no text in UTF-8 (byte {error.start:,})", "convert it to UTF-8") from None


def load(spec: DataSpec, _folder: Path | None) -> Dataset:
    """Read the sentences that the spec names.

    Of a file each sentence counts once, and the test set is the share of them whose text has the smallest SHA-256. Of a
    folder the two files are taken as they are. The vocabulary is counted over both parts.

    Raises:
        SpecError: the spec names no file, or a share of what has been divided already.
        DataError: a file cannot be read, or holds too few sentences.
    """
    if spec.path is None:
        raise SpecError("data.path", "text needs a file", "add `data.path=FILE.txt`")
    path = Path(spec.path)
    train, test, read, known = _of_folder(path, spec) if is_folder(path) else _of_file(path, spec)
    kept = len(train) + len(test)
    origin = f"{path.name} (SHA-256 {known}), {kept:,} of {read:,} sentences: those of 1 to {spec.max_words} words"
    own = f", words seen {spec.min_count} times or more"
    words = vocabulary([*train, *test], spec.min_count)
    return tokens_dataset("text", train, test, words, origin=origin + own, label=file_label("text", path, known))


def _of_file(path: Path, spec: DataSpec) -> tuple[list[Sentence], list[Sentence], int, str]:
    """Sentences to train and to test on, how many the file has, and its digest."""
    found, read = _sentences(path, spec)
    distinct = once(found)
    if len(distinct) < 2:
        problem = f"holds {len(distinct)} sentence(s) of 1 to {spec.max_words} words, and two are needed"
        raise DataError(str(path), problem, f"{_GIVE}, or a larger data.max_words")
    count = min(max(1, round(spec.test_share * len(distinct))), len(distinct) - 1)
    return distinct[count:], distinct[:count], read, digest(path)[:10]


def _of_folder(path: Path, spec: DataSpec) -> tuple[list[Sentence], list[Sentence], int, str]:
    if spec.test_share != type(spec)().test_share:
        problem = "says nothing of a folder, which has a file of test sentences"
        raise SpecError("data.test_share", problem, "drop it, or give one file")
    parts, total, digests = [], 0, []
    for part in ("train", "test"):
        named = [file for file in sorted(path.iterdir()) if part in file.name.lower() and is_file(file)]
        if len(named) != 1:
            problem = f"holds {len(named)} files with '{part}' in their name, not one"
            raise DataError(str(path), problem, "put the sentences into train.txt and test.txt")
        found, read = _sentences(named[0], spec)
        if not found:
            problem = f"{named[0].name} holds no sentence of 1 to {spec.max_words} words"
            raise DataError(str(path), problem, f"{_GIVE}, or a larger data.max_words")
        parts.append(found)
        total += read
        digests.append(digest(named[0])[:5])
    return parts[0], parts[1], total, "".join(digests)


def _sentences(path: Path, spec: DataSpec) -> tuple[list[Sentence], int]:
    """The sentences of a file that are not too long, and how many there are in all."""
    split: Callable[[str], Sentence] = words_of if spec.tokens == "words" else _between_spaces
    lines = [sentence for line in read_lines(path) if (sentence := split(line))]
    return [sentence for sentence in lines if len(sentence) <= spec.max_words], len(lines)


def _between_spaces(line: str) -> Sentence:
    return tuple(line.split())


source = Source(
    name="text",
    description="Your own sentences: a UTF-8 file with one on each line, or a folder with train.txt and test.txt",
    kind="tokens",
    load=load,
    where="the file in data.path",
    reads=("path", "min_count", "max_words", "test_share", "tokens"),
)
