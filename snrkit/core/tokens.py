"""Sentences as numbers: what the first numbers of a vocabulary stand for, and the way back to words."""

from collections.abc import Iterable, Sequence

# What comes after a sentence, what ends it (and starts it, where a network is given the word before the first), and a word
# that the vocabulary lacks.
PAD, EOS, UNK = 0, 1, 2
SPECIAL = ("<pad>", "<eos>", "<unk>")


def readable(words: Sequence[str], numbers: Iterable[int]) -> str:
    """The words of a sentence, with spaces between them, up to its end.

    Args:
        words: the vocabulary; its first three entries are ``SPECIAL``.
        numbers: of a sentence: words, ``EOS``, then ``PAD``; one that was cut off has no end.
    """
    found = []
    for number in numbers:
        if number in (PAD, EOS):
            break
        found.append(words[int(number)])
    return " ".join(found)
