"""A user's text in every format that a report is written in: one function each, and nothing of it is ever a command.

Names of runs, files and folders, labels of data, options, metrics and remarks are what their authors made them, and a result
file may come from anywhere. Standard library only.
"""

import re
import unicodedata

# Letters of these classes are not drawn, or change how their neighbours are: control characters (line ends among them),
# direction marks, halves of pairs, places without a letter, line and paragraph ends.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"})
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "`": r"\textasciigrave{}", '"': r"\textquotedbl{}", "−": "$-$", "β": r"$\beta$", "–": "--",
}  # fmt: skip
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBERS = re.compile(rf"{_NUMBER}(?:[ ,]+{_NUMBER})*")
# What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_MARKDOWN = re.compile(r"[\\`*|$~]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])")


def visible(text: str) -> str:
    r"""A text on one line, in which every character can be seen: a line end becomes ``\n``, an escape ``\x1b``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _SHORT.get(letter) or _code(letter) if unicodedata.category(letter) in _HIDDEN else letter for letter in text
    )


def _code(letter: str) -> str:
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def latex(text: str) -> str:
    """For running text and cells of a table."""
    return "".join(_LATEX.get(letter, letter) for letter in visible(text))


def latex_comment(text: str) -> str:
    """For a comment, which a line end would end."""
    return visible(text)


def markdown(text: str) -> str:
    """For a cell of a table, or the middle of a line."""
    safe = _MARKDOWN.sub(lambda found: "\\" + found[0], visible(text))
    return re.sub(r"&(?=#?\w+;)", "&amp;", safe).replace("<", "&lt;")


def markdown_line(text: str) -> str:
    """For the beginning of a line, which may be taken for a heading, a list, a quotation or a rule."""
    safe = markdown(text)
    return re.sub(r"^(?=[#>+=-])", r"\\", re.sub(r"^(\d+)(?=[.)](\s|$))", r"\1\\", safe))


def csv(text: str) -> str:
    """For a cell of a CSV file that may be opened in a spreadsheet: no formula, and numbers as they are."""
    safe = visible(text)
    return f"'{safe}" if safe.lstrip().startswith(_FORMULA) and not _NUMBERS.fullmatch(safe) else safe


def mathtext(text: str) -> str:
    """For a text in a figure: no dollar begins mathematics."""
    return visible(text).replace("$", r"\$")
