"""What all commands share in talking to the user: progress to stderr, results to stdout."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_INTERVAL_S = 30.0
PLAIN_WIDTH = 120

Update = Callable[[float, float, str], None]


@contextmanager
def progress(title: str, quiet: bool) -> Iterator[Update]:
    """Yield ``update(done, total, note)``: a bar with ETA on a terminal, one plain line every 30 s elsewhere.

    Args:
        title: what is being done.
        quiet: show nothing.
    """
    console = Console(stderr=True)
    if quiet:
        yield lambda _done, _total, _note: None
    elif console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(title, total=None, note="")
            yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)
    else:
        yield _plain(title)


def _bar(console: Console) -> Progress:
    columns = [
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("ETA"),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    ]  # fmt: skip
    return Progress(*columns, console=console, transient=True)


def _plain(title: str) -> Update:
    start = last = time.monotonic()

    def update(done: float, total: float, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL_S and done > 0:
            last = now
            eta = (now - start) * (total - done) / done
            click.echo(f"{title}: {100 * done / total:.0f} %, ETA {eta:.0f} s, {note}".rstrip(), err=True)

    return update


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(value, indent=2, sort_keys=True))


def print_table(table: Table) -> None:
    """A table on stdout, as wide as it needs to be when that is no terminal."""
    console = Console()
    # Definitions hold square brackets, which are not markup.
    (console if console.is_terminal else Console(width=PLAIN_WIDTH)).print(table, markup=False)
