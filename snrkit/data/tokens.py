"""Sentences to token numbers: splitting into words, the vocabulary, and the tables that models are trained on."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from snrkit.core.tokens import EOS, SPECIAL, UNK
from snrkit.data.base import Array, Dataset
from snrkit.errors import DataError

Sentence = tuple[str, ...]
# Letters and digits of any script, with an apostrophe between them; and each mark by itself.
_WORDS = re.compile(r"[^\W_]+(?:'[^\W_]+)*|[.,;:!?\"]")


def words_of(line: str) -> Sentence:
    """The words and marks of a line, in lower case."""
    return tuple(_WORDS.findall(line.replace("\u2019", "'").lower()))


def once(sentences: Iterable[Sentence]) -> list[Sentence]:
    """Each sentence once, in the order of the SHA-256 of its text, which has nothing to do with where it stood."""
    return sorted(set(sentences), key=lambda sentence: hashlib.sha256(" ".join(sentence).encode()).digest())


def vocabulary(sentences: Iterable[Sentence], min_count: int) -> tuple[str, ...]:
    """``SPECIAL``, then the words that are there ``min_count`` times or more, the most frequent first."""
    counts = Counter(word for sentence in sentences for word in sentence if word not in SPECIAL)
    kept = [word for word, count in counts.items() if count >= min_count]
    return (*SPECIAL, *sorted(kept, key=lambda word: (-counts[word], word)))


def numbered(sentences: Sequence[Sentence], words: Sequence[str], length: int) -> Array:
    """Numbers of the words, ``EOS``, and ``PAD`` up to ``length``: int32 ``[N, length]``."""
    known = {word: number for number, word in enumerate(words) if word not in SPECIAL}
    table = np.zeros((len(sentences), length), np.int32)
    for row, sentence in zip(table, sentences, strict=True):
        row[: len(sentence) + 1] = [*(known.get(word, UNK) for word in sentence), EOS]
    return table


def tokens_dataset(
    name: str,
    train: Sequence[Sentence],
    test: Sequence[Sentence],
    words: tuple[str, ...],
    *,
    origin: str,
    label: str,
) -> Dataset:
    """Sentences as a data set.

    Args:
        name: of the source.
        train: sentences of one word at least, and of at most as many as the longest of both parts.
        test: likewise.
        words: the vocabulary.
        origin: see ``Dataset``.
        label: see ``Dataset``.

    Raises:
        DataError: the vocabulary has fewer than two words.
    """
    if len(words) < len(SPECIAL) + 2:
        problem = f"{len(words) - len(SPECIAL)} word(s) are there as often as data.min_count says"
        raise DataError(name, problem, "give more text, or a smaller data.min_count")
    length = 1 + max(map(len, [*train, *test]))
    trained, tested = (numbered(part, words, length) for part in (train, test))
    return Dataset(name, trained, tested, "tokens", None, origin, None, label, words=words)
