"""Tutorials are notebooks in Markdown: their Python is run as the site is built, and what it gives stands below it.

A page whose front matter has ``run: true`` is one. Everything it prints is shown, and the value of a last expression as a
notebook shows it; an error ends the build. The same cells are written as ``.ipynb`` beside the page, outputs included.
"""

import ast
import contextlib
import html
import io
import json
import logging
import os
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

# Read when torch is first imported: waiting threads leave the cores to other processes.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("OMP_NUM_THREADS", "2")

_LOG = logging.getLogger("mkdocs.hooks.notebook")
_CELL = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Output = tuple[str, str]


def cells(text: str) -> list[tuple[str, str]]:
    """The parts of a page in order: ("markdown" or "code", text)."""
    found, place = [], 0
    for cell in _CELL.finditer(text):
        found += [("markdown", text[place : cell.start()]), ("code", cell[1])]
        place = cell.end()
    return [(kind, part.strip("\n")) for kind, part in [*found, ("markdown", text[place:])] if part.strip()]


def run(code: str, names: dict[str, Any], where: str) -> Output:
    """Run a cell; returns (what it printed, HTML of its last expression's value).

    Args:
        code: the cell.
        names: of the cells before it, added to.
        where: for tracebacks.
    """
    tree, value = ast.parse(code, where), None
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(tree, where, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
    return printed.getvalue(), _shown(value)


def _shown(value: object) -> str:
    if value is None:
        return ""
    own = getattr(value, "_repr_html_", None)
    return str(own()) if callable(own) else f"<pre>{html.escape(repr(value))}</pre>"


def executed(text: str, where: str) -> tuple[str, list[dict[str, Any]]]:
    """A page with its outputs, and the cells of a notebook.

    Args:
        text: of the page.
        where: for tracebacks.
    """
    names: dict[str, Any] = {"__name__": "notebook"}
    parts, notebook = [], []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for number, (kind, part) in enumerate(cells(text)):
            if kind == "markdown":
                parts.append(part)
                notebook.append({"cell_type": "markdown", "id": f"cell-{number}", "metadata": {}, "source": part})
                continue
            printed, shown = run(part, names, f"{where}, cell {number}")
            parts.append(f"```python\n{part}\n```")
            parts += [f'```text title="printed"\n{printed.rstrip()}\n```'] if printed.strip() else []
            parts += [f'<div class="output">{_flat(shown)}</div>'] if shown else []
            notebook.append(_code_cell(number, part, printed, shown))
    return "\n\n".join(parts) + "\n", notebook


def _flat(shown: str) -> str:
    """HTML that Markdown leaves alone: no empty lines, no styles of its own."""
    plain = re.sub(r"<style.*?</style>", "", shown, flags=re.DOTALL)
    return "\n".join(line.strip() for line in plain.splitlines() if line.strip())


def _code_cell(number: int, code: str, printed: str, shown: str) -> dict[str, Any]:
    outputs: list[dict[str, Any]] = []
    if printed:
        outputs.append({"output_type": "stream", "name": "stdout", "text": printed})
    if shown:
        data = {"text/html": shown, "text/plain": "(shown as HTML)"}
        outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
    return {
        "cell_type": "code", "id": f"cell-{number}", "metadata": {}, "execution_count": None, "source": code,
        "outputs": outputs,
    }  # fmt: skip


_NOTEBOOKS: dict[str, list[dict[str, Any]]] = {}


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Called by mkdocs for every page."""
    if not page.meta.get("run"):
        return markdown
    start = time.perf_counter()
    text, _NOTEBOOKS[page.file.dest_uri] = executed(markdown, page.file.src_uri)
    _LOG.info("%s ran in %.1f s", page.file.src_uri, time.perf_counter() - start)
    name = f"{Path(page.file.src_uri).stem}.ipynb"
    return f'{text}\n<p><a href="{name}" download>This page as a Jupyter notebook</a></p>\n'


def on_post_build(*, config: Any, **_: object) -> None:
    """Called by mkdocs at the end: the notebooks go beside their pages."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for place, own in _NOTEBOOKS.items():
        page = Path(config["site_dir"], place)
        target = page.parent / f"{page.parent.name}.ipynb" if page.name == "index.html" else page.with_suffix(".ipynb")
        content = {"cells": own, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        target.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
