"""Options and parameter types that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from snrkit.errors import SpecError

if TYPE_CHECKING:
    from snrkit.estimators.base import Estimator

Command = TypeVar("Command", bound=Callable[..., Any])


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
            self.fail(f"'{value}' is not a list of integers; write for example 1,10,100", param, ctx)
        if min(numbers) < 1:
            self.fail(f"must be at least 1, got {min(numbers)}; write for example 1,10,100", param, ctx)
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


COUNTS, NAMES = Counts(), Names()
SEED = click.IntRange(min=0, max=2**63 - 1)
DIRECTORY = click.Path(path_type=Path)


def common(command: Command) -> Command:
    """--data-dir, --device, --json and --quiet."""
    for decorate in (
        click.option("--quiet", is_flag=True, help="No progress, no logs."),
        click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout instead of a table."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."),
        click.option(
            "--data-dir", type=DIRECTORY, help="Folder of the data files. Default: $SNRKIT_DATA or the cache folder."
        ),
    ):
        command = decorate(command)
    return command


def checkpoint_option(command: Command) -> Command:
    """--ckpt."""
    option = click.option("--ckpt", type=DIRECTORY, required=True, help="A run.pt, or a run directory holding one.")
    return option(command)


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


def build_estimators(names: list[str], options: dict[str, float]) -> "list[Estimator]":
    """Estimators by name; each takes those of the options that it has.

    Raises:
        SpecError: an unknown name, or an option that none of them has.
    """
    import dataclasses

    from snrkit.estimators import ESTIMATORS
    from snrkit.estimators.base import build_estimator

    fields = {name: {field.name for field in dataclasses.fields(ESTIMATORS.load(name))} for name in names}
    for option in options:
        if not any(option in known for known in fields.values()):
            known = ", ".join(sorted(set().union(*fields.values()))) or "none"
            raise SpecError(
                "--option", f"no estimator of {', '.join(names)} has '{option}'", f"options there are: {known}"
            )
    return [build_estimator(name, {k: v for k, v in options.items() if k in fields[name]}) for name in names]
