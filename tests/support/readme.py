"""The tables of README.md that are made from the registries; ``python -m tests.support.readme`` writes them anew."""

import re
from pathlib import Path

from snrkit.cli import listing

README = Path(__file__).parents[2] / "README.md"
_BLOCK = r"(<!-- {name}: snrkit list {name} --markdown -->\n).*?(<!-- end -->)"


def written(text):
    """The text with every table as it is to be."""
    for name in ("models", "estimators"):
        block = re.search(_BLOCK.format(name=name), text, re.DOTALL)
        assert block, name
        table = listing.as_markdown(getattr(listing, name)())
        text = f"{text[: block.start()]}{block[1]}{table}\n{block[2]}{text[block.end() :]}"
    return text


if __name__ == "__main__":
    README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
