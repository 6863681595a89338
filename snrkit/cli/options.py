"""Options and parameter types that several commands share."""

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from snrkit.errors import SpecError
from snrkit.registry import hint
from snrkit.specs.shard import Shard

if TYPE_CHECKING:
    from snrkit.estimators.base import Estimator
    from snrkit.specs.measure import Choice

Command = TypeVar("Command", bound=Callable[..., Any])
# The largest number that fits where results keep numbers of samples, draws and points.
LARGEST = 2**63 - 1
# Where runs go that are told no other place.
RUNS = Path("checkpoints")


class Whole(click.ParamType):  # type: ignore[type-arg]
    """An integer within bounds.

    Args:
        least: the smallest one.
        word: what may stand instead, as it is; None: nothing.
    """

    name = "integer"

    def __init__(self, least: int, word: str | None = None) -> None:
        self._least, self._word = least, word
        self.name = "integer" if word is None else f"{word}|N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Text to an integer."""
        if self._word is not None and value == self._word:
            return self._word
        try:
            number = int(value)
        except ValueError:
            problem = "is not an integer" if self._word is None else f"is neither {self._word} nor an integer"
            self.fail(f"'{shortened(value)}' {problem}", param, ctx)
        if not self._least <= number <= LARGEST:
            self.fail(f"must be at least {self._least} and less than 2^63, got {shortened(value)}", param, ctx)
        return number


def shortened(value: object) -> str:
    """A value as text of a length fit for a message."""
    text = str(value)
    return text if len(text) <= 50 else f"{text[:20]}... ({len(text)} characters)"


class Counts(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated integers of at least 1, e.g. ``1,10,100``."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Text to integers, without repetitions."""
        if isinstance(value, list):
            return value
        try:
            numbers = [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"'{shortened(value)}' is not a list of integers; write for example 1,10,100", param, ctx)
        if not 1 <= min(numbers) <= max(numbers) <= LARGEST:
            wrong = min(numbers) if min(numbers) < 1 else max(numbers)
            self.fail(
                f"must be at least 1 and less than 2^63, got {shortened(wrong)}; write for example 1,10,100", param, ctx
            )
        return list(dict.fromkeys(numbers))


class Names(click.ParamType):  # type: ignore[type-arg]
    """Comma-separated names."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Text to names, without repetitions."""
        if isinstance(value, list):
            return value
        names = [part.strip() for part in str(value).split(",") if part.strip()]
        if not names:
            self.fail("names nothing; leave it out for the default", param, ctx)
        return list(dict.fromkeys(names))


# Of the number of processes in an array.
_DIGITS = 6
# Bytes in a name: the system takes 255, and endings are added to it.
_LONGEST_NAME = 200


class PathType(click.ParamType):  # type: ignore[type-arg]
    """A path that the system can take; whether anything is there is for the command to say.

    Args:
        kind: ``any``; ``output``: a file to be written; ``folder``: one to be written to.
    """

    name = "path"

    def __init__(self, kind: Literal["any", "output", "folder"] = "any") -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Text to a path."""
        text = os.fspath(value)
        problem = _nonsense(text) or _obstacle(text, self._kind)
        if problem:
            self.fail(f"'{text}' {problem}" if text else problem, param, ctx)
        return Path(text)


def _nonsense(text: str) -> str:
    """What is wrong with a text as a path; empty if nothing is."""
    if not text:
        return "is empty; name a file or a folder, for example ./here"
    if "\0" in text:
        return "holds a null byte; give the path alone"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not UTF-8, which names in results have to be; rename it"
    return ""


def _obstacle(text: str, kind: str) -> str:
    """What is in the way of a path; empty if nothing is."""
    try:
        mode = Path(text).stat().st_mode
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG) or (error.errno == errno.ENOTDIR and kind != "any"):
            return (
                f"cannot be {'read' if kind == 'any' else 'written'} ({os.strerror(error.errno).lower()}); give another"
            )
        return _unfit_name(text) if kind == "output" else ""
    if kind == "output" and not stat.S_ISREG(mode):
        return f"cannot be written ({'is a directory' if stat.S_ISDIR(mode) else 'is no regular file'}); name a file"
    if kind == "folder" and not stat.S_ISDIR(mode):
        return "cannot be written (is no folder); name a folder"
    return ""


def _unfit_name(text: str) -> str:
    """What is wrong with the name of a file that is to be made; empty if nothing is."""
    if text.endswith("/"):
        return "is the name of a folder; name a file"
    return "is too long a name; give a shorter one" if len(Path(text).name.encode()) > _LONGEST_NAME else ""


class ShardType(click.ParamType):  # type: ignore[type-arg]
    """Which process of how many, e.g. ``1/8``."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shard:
        """Text to a shard."""
        if isinstance(value, Shard):
            return value
        first, slash, last = str(value).partition("/")
        if not slash or not (first.isdecimal() and last.isdecimal()) or max(len(first), len(last)) > _DIGITS:
            self.fail(f"'{shortened(value)}' is not I/N; write for example 1/8", param, ctx)
        number, of = int(first), int(last)
        if not 1 <= number <= of:
            counted = f"they count from 1: of {of} the first is 1/{of}; a SLURM array of them is --array=1-{of}"
            self.fail(f"there is no part {number} of {of}; {counted if of else 'give at least one part'}", param, ctx)
        return Shard(number, of)


COUNTS, NAMES = Counts(), Names()
INPUT, OUTPUT, FOLDER = PathType(), PathType("output"), PathType("folder")


def common(command: Command) -> Command:
    """--data-dir, --device, --json and --quiet."""
    for decorate in (
        click.option("--quiet", is_flag=True, help="No progress, no logs."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of a table."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.option(
            "--data-dir", type=INPUT, help="Folder of the data files. Default: $SNRKIT_DATA or the cache folder."
        ),
    ):
        command = decorate(command)
    return command


def shard_option(of: str) -> Callable[[Command], Command]:
    """--shard, of commands that work on several runs, which are called ``of``."""
    text = f"Of {of} only part I of N, from 1/N to N/N: for the processes of a job array."
    return click.option("--shard", type=ShardType(), default="1/1", help=text)


def checkpoint_option(command: Command) -> Command:
    """--ckpt."""
    option = click.option("--ckpt", "path", type=INPUT, required=True, help="A run.pt, or a run directory holding one.")
    return option(command)


def fleet_options(command: Command) -> Command:
    """--workers and --scheduler."""
    workers = "Draw on so many processes of this machine, of 1 thread each unless --threads says otherwise."
    scheduler = "Draw on the workers of a Dask cluster: the address of its scheduler, e.g. tcp://host:8786."
    for decorate in (
        click.option("--scheduler", metavar="ADDRESS", help=scheduler),
        click.option("--workers", type=Whole(1), help=workers),
    ):
        command = decorate(command)
    return command


def model_option(command: Command) -> Command:
    """--model, of commands that open runs."""
    text = (
        "Of a run with a model of your own: its file and class. The file is run, since you name it, if it is as it was."
    )
    return click.option("--model", metavar="FILE.py:CLASS", help=text)(command)


def parse_options(settings: tuple[str, ...]) -> dict[str, float]:
    """``NAME=VALUE`` settings to numbers.

    Raises:
        SpecError: not of that form.
    """
    options = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        try:
            options[name.strip()] = float(value)
        except ValueError:
            raise SpecError(
                "--option", f"'{setting}' is not NAME=NUMBER", "write for example --option beta=0.5"
            ) from None
    return options


def required(parameter: str, value: object) -> None:
    """What a command needs unless it only lists its settings.

    Raises:
        click.MissingParameter: it was not given.
    """
    if not value:
        context = click.get_current_context()
        (option,) = (option for option in context.command.params if option.name == parameter)
        raise click.MissingParameter(ctx=context, param=option)


def with_options(chosen: "Sequence[Choice]", options: Mapping[str, float]) -> "tuple[Choice, ...]":
    """The same estimators; each takes those of the options that it has.

    Raises:
        SpecError: an unknown name, or an option that none of them has.
    """
    import dataclasses

    from snrkit.estimators import ESTIMATORS
    from snrkit.specs.measure import Choice

    fields = [{field.name for field in dataclasses.fields(ESTIMATORS.load(choice.name))} for choice in chosen]
    for option in options:
        if not any(option in known for known in fields):
            known = sorted(set().union(*fields))
            remedy = f"{hint(option, known)}options there are: {', '.join(known) or 'none'}"
            names = ", ".join(choice.name for choice in chosen)
            raise SpecError("--option", f"no estimator of {names} has '{option}'", remedy)
    return tuple(
        Choice(name=choice.name, options={**choice.options, **{k: v for k, v in options.items() if k in known}})
        for choice, known in zip(chosen, fields, strict=True)
    )


def build_estimators(names: Sequence[str], options: Mapping[str, float]) -> "list[Estimator]":
    """Estimators by name; each takes those of the options that it has.

    Raises:
        SpecError: an unknown name, or an option that none of them has.
    """
    from snrkit.estimators.base import build_estimator
    from snrkit.specs.measure import Choice

    chosen = with_options([Choice(name=name) for name in names], options)
    return [build_estimator(choice.name, choice.options) for choice in chosen]
