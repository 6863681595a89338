"""``python -m snrkit.runs.kinds [KIND ...]``: every kind of result with its columns, as Markdown."""

import os
import sys
from collections.abc import Iterator

from snrkit.errors import SnrkitError
from snrkit.runs.kinds import KINDS


def lines(name: str) -> Iterator[str]:
    """What a kind is, and a row for each of its columns."""
    kind = KINDS.load(name)
    yield f"## {name}: `{kind.pattern}`, schema {kind.version}\n"
    yield "| column | holds | meaning |"
    yield "| --- | --- | --- |"
    family = (
        {} if kind.dimensions is None else {f"{kind.dimensions[0]}1, {kind.dimensions[0]}2, ...": kind.dimensions[1]}
    )
    for title, column in {**kind.columns, **family}.items():
        more = [
            *([f"since schema {column.since}"] if column.since > 1 else []),
            *(["optional"] if column.optional else []),
        ]
        key = ["key"] if title in kind.key else []
        meaning = column.meaning.replace("|", r"\|")  # of a cell, not its end
        yield f"| `{title}` | {', '.join([column.content, *key, *more])} | {meaning} |"
    yield ""


if __name__ == "__main__":
    try:
        for wanted in sys.argv[1:] or KINDS.names:
            sys.stdout.write("\n".join([*lines(wanted), ""]))
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SnrkitError as error:
        sys.exit(f"{error}")
