"""Pages of the documentation: README.md and all of docs/, their blocks of code and their links."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.extras import required

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: as it is fenced.
        code: the text.
        mark: what a comment on the line before says: why it is not run, ``slow``, or ``needs`` and a package.
    """

    language: str
    code: str
    mark: str

    @property
    def is_run(self) -> bool:
        return self.language in ("python", "sh") and not self.mark.startswith("not run")

    @property
    def needs(self) -> str:
        """The package that it needs beside snrkit's own; empty: none."""
        return self.mark.removeprefix("needs ") if self.mark.startswith("needs ") else ""

    @property
    def is_served(self) -> bool:
        """Whether what it needs is there, or must be."""
        return not self.needs or required() or importlib.util.find_spec(self.needs) is not None


def blocks(page: Path) -> list[Block]:
    """Those of a page, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(one["language"], one["code"], one["mark"] or "") for one in found]


def name(page: Path) -> str:
    """As tests are called."""
    return page.relative_to(ROOT).as_posix()


def is_notebook(page: Path) -> bool:
    """Whether the page is run as the site is built."""
    return page.read_text(encoding="utf-8").startswith("---\nrun: true\n---\n")
