"""Pages of the reference, made of the code: ``<!-- generated: NAME -->`` stands where a table or text is to be."""

import ast
import contextlib
import io
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import click

import snrkit
from snrkit.cli import listing, settings
from snrkit.cli.main import Commands
from snrkit.report.escape import markdown as escaped
from snrkit.report.figures import FIGURES
from snrkit.runs.kinds import KINDS
from snrkit.runs.kinds.__main__ import lines

_MARK = re.compile(r"<!-- generated: (\w+) -->")


def _columns() -> str:
    """Every kind of result with its columns."""
    return "\n".join(line for name in KINDS.names for line in lines(name))


def _commands() -> str:
    """Every command with its options."""
    parts = []
    for name in Commands.TABLE:
        command = Commands().get_command(click.Context(click.Command("snrkit")), name)
        context = click.Context(command, info_name=f"snrkit {name}")
        usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
        parts += [f"## snrkit {name}\n", f"    {usage}\n", _text(command.help), *_options(command, context)]
    return "\n".join(parts)


def _text(text: str | None) -> str:
    """Help as paragraphs."""
    plain = (text or "").replace("\b\n", "\n")
    return "\n\n".join(escaped(" ".join(part.split())) for part in plain.split("\n\n")) + "\n"


def _options(command: click.Command, context: click.Context) -> list[str]:
    rows = [found for one in command.params if (found := one.get_help_record(context))]
    if not rows:
        return []
    cells = [f"| `{names}` | {escaped(' '.join(meaning.split()))} |" for names, meaning in rows]
    return ["| option | what it does |", "| --- | --- |", *cells, ""]


def _settings(rows: list[dict[str, str]]) -> str:
    """The text of ``--settings``."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        settings.show(rows, as_json=False)
    return f"```text\n{stream.getvalue().rstrip()}\n```"


def _figures() -> str:
    """Every figure of the report."""
    rows = ["| figure | title | drawn from | what it shows |", "| --- | --- | --- | --- |"]
    for name in FIGURES.names:
        kind = FIGURES.load(name)
        rows.append(f"| `{name}` | {kind.title} | {', '.join(kind.needs)} | {escaped(kind.definition)} |")
    return "\n".join(rows)


def _public() -> str:
    """Every public name, from where it is defined."""
    homes = {name: f"{home}.{name}" for name, home in snrkit._HOME.items()}
    return _described(home for _, home in sorted(homes.items()))


def _plots() -> str:
    """Every name of ``snrkit.plot``, from where it is defined."""
    return _described(f"{getattr(snrkit.plot, name).__module__}.{name}" for name in snrkit.plot.__all__)


def _callbacks() -> str:
    """The callbacks for other libraries, and what they pass on. Read, not imported: those libraries need not be there."""
    own = _described(["snrkit.lightning.SNRCallback", "snrkit.transformers.SNRCallback"], whole=True)
    return f"{own}\n{_described(['snrkit.monitor.options.Options'])}"


_TRIALS = Path(__file__).parents[2] / "examples" / "trials.py"


def _trials() -> str:
    """The cases of ``examples/trials.py``, and the lines of each that measure: read, and counted, from the file."""
    rows = ["| what is measured | lines | which |", "| --- | --- | --- |"]
    for title, written in trials():
        code = "<br>".join(f"`{line}`" for line in written)
        rows.append(f"| {title} | {len(written)} | {code} |")
    return "\n".join(rows)


def trials() -> list[tuple[str, list[str]]]:
    """Each case's title, and the lines that it takes: those of the statements in which snrkit, or a monitor, is named."""
    source = _TRIALS.read_text(encoding="utf-8")
    cases = [one for one in ast.parse(source).body if isinstance(one, ast.FunctionDef) and _is_case(one)]
    return [(str(ast.get_docstring(case)).rstrip("."), _written(case, source)) for case in cases]


def _is_case(function: ast.FunctionDef) -> bool:
    return isinstance(function.returns, ast.Name) and function.returns.id == "Case"


def _written(case: ast.FunctionDef, source: str) -> list[str]:
    statements = [one for one in ast.walk(case) if isinstance(one, ast.Assign | ast.Expr)]
    ours = [
        one for one in statements if {"snrkit", "monitor"} & {n.id for n in ast.walk(one) if isinstance(n, ast.Name)}
    ]
    lines = source.splitlines()
    return [
        line.strip()
        for one in sorted(ours, key=lambda own: own.lineno)
        for line in lines[one.lineno - 1 : one.end_lineno]
    ]


def _described(places: Iterable[str], *, whole: bool = False) -> str:
    """What mkdocstrings makes of objects, each under a heading; with their whole path if names are not enough."""
    path = "      show_root_full_path: true\n" if whole else ""
    return "\n".join(f"::: {place}\n    options:\n      heading_level: 3\n{path}" for place in places)


MAKERS: dict[str, Callable[[], str]] = {
    "estimators": lambda: listing.as_markdown(listing.estimators()),
    "models": lambda: listing.as_markdown(listing.models()),
    "data": lambda: listing.as_markdown(listing.data()),
    "metrics": lambda: listing.as_markdown(listing.metrics()),
    "figures": _figures,
    "columns": _columns,
    "commands": _commands,
    "training_settings": lambda: _settings(settings.of_training()),
    "measurement_settings": lambda: _settings(settings.of_measurements()),
    "public": _public,
    "plots": _plots,
    "callbacks": _callbacks,
    "trials": _trials,
}


def filled(text: str) -> str:
    """The text of a page with what is generated in its places."""
    return _MARK.sub(lambda found: MAKERS[found[1]](), text)


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by mkdocs for every page."""
    return filled(markdown)
