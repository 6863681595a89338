"""What all commands share in talking to the user: progress to stderr, results to stdout."""

import codecs
import json
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

import click

from snrkit.errors import OutputError

# Rich takes a third of the time of --help, which needs none of it.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

PLAIN_INTERVAL_S = 30.0
SOON_S = 2.0
PLAIN_WIDTH = 120

Update = Callable[[float, float, str], None]

# What a terminal that lacks them shows for characters that are no letters with an accent.
_PLAIN = {
    "±": "+-",
    "−": "-",
    "·": "*",
    "‖": "|",
    "√": "sqrt ",
    "Σ": "sum ",
    "β": "beta",
    "Δ": "Delta ",
    "²": "^2",
    "…": "...",
}


def prepare_output() -> bool:
    """Let stdout take every character, spelt out where it lacks it, and see to it that it is there.

    Returns:
        Whether it is; otherwise the results of a command would be lost.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # A file opened later would get the number of what is closed, and be written to in its stead.
            os.open(os.devnull, os.O_RDWR)
    codecs.register_error("snrkit", _spell)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="snrkit")
    return sys.stdout is not None


def _spell(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs: characters that cannot be encoded in ones that always can."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_spelt(character) for character in error.object[error.start : error.end]), error.end


def _spelt(character: str) -> str:
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    if unicodedata.combining(character):
        return ""
    return _PLAIN.get(character) or plain or character.encode("ascii", "backslashreplace").decode()


def one_line(text: str) -> str:
    """A text without line ends and other control characters, which a name of the user's may hold."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def say(text: str) -> None:
    """Text on stderr; that it cannot be written there is no reason to stop."""
    try:
        click.echo(text, err=True)
    except OSError:
        drop(sys.stderr)


def complain(text: str) -> None:
    """One line on stderr."""
    say(one_line(text))


def tell(text: str) -> None:
    """Text on stdout.

    Raises:
        OutputError: it cannot be written there.
    """
    with _written():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


@contextmanager
def _written() -> Iterator[None]:
    """Write to stdout within the block; a reader that went away (``snrkit ... | head``) does not stop the work."""
    try:
        yield
    except BrokenPipeError:
        drop(sys.stdout)
    except OSError as error:
        drop(sys.stdout)
        problem = f"cannot be written ({str(error.strerror).lower()})"
        raise OutputError("stdout", problem, "send it elsewhere; what was computed is in its files") from None


def drop(stream: IO[str]) -> None:
    """Send what waits for a stream, and all that follows, nowhere."""
    with suppress(OSError):  # of a stream that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Forgiving:
    """A stream whose reader or terminal may go away without stopping the work that is told of.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            drop(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            drop(self._stream)


def error_console() -> "Console":
    """A console on stderr."""
    from rich.console import Console

    return Console(stderr=True) if sys.stderr is None else Console(file=cast(IO[str], _Forgiving(sys.stderr)))


@contextmanager
def progress(title: str, quiet: bool, start: float | None = None) -> Iterator[Update]:
    """Yield ``update(done, total, note)``: a bar with ETA on a terminal, one plain line every 30 s elsewhere.

    Args:
        title: what is being done.
        quiet: show nothing.
        start: when it began, as ``time.monotonic`` says; None: now.
    """
    console = error_console()
    if quiet:
        yield lambda _done, _total, _note: None
    elif console.is_terminal:
        with _bar(console) as bar:
            task = bar.add_task(title, total=None, note="")
            yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)
    else:
        yield _plain(title, time.monotonic() if start is None else start)


@contextmanager
def late_progress(title: str, quiet: bool) -> Iterator[Update]:
    """The same of what is mostly over at once: nothing is shown, or loaded for it, in the first two seconds."""
    start, shown = time.monotonic(), list[Update]()
    with ExitStack() as bar:

        def update(done: float, total: float, note: str) -> None:
            if not shown and time.monotonic() - start >= SOON_S:
                shown.append(bar.enter_context(progress(title, quiet, start)))
            for own in shown:
                own(done, total, note)

        yield update


def _bar(console: "Console") -> "Progress":
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("ETA"),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    ]  # fmt: skip
    return Progress(*columns, console=console, transient=True)


def _plain(title: str, start: float) -> Update:
    last = start

    def update(done: float, total: float, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_INTERVAL_S and done > 0:
            last = now
            eta = (now - start) * (total - done) / done
            say(f"{title}: {100 * done / total:.0f} %, ETA {eta:.0f} s, {note}".rstrip())

    return update


def print_json(value: Any) -> None:
    """One JSON object on stdout."""
    tell(json.dumps(value, indent=2, sort_keys=True))


def print_table(table: "Table") -> None:
    """A table on stdout, as wide as it needs to be when that is no terminal."""
    from rich.console import Console

    console = Console()
    # Definitions hold square brackets, which are not markup.
    console = console if console.is_terminal else Console(width=PLAIN_WIDTH)
    # Rich writes to stdout at the end of a capture, too.
    with _written(), console.capture() as captured:
        console.print(table, markup=False)
    tell(captured.get().removesuffix("\n"))


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Lines of a table for programs and people, its columns aligned; the first row is its head.

    Args:
        rows: the cells, as many in each.
        left: how many columns are texts; numbers, to the right, follow.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number < left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def columns_on_stdout() -> int | None:
    """How many characters a line of the terminal has; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
