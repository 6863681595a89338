"""The ``snrkit`` program: finds a command by name and turns errors into exit codes."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import click

from snrkit.checksums import unsealed
from snrkit.errors import SnrkitError
from snrkit.interrupt import Interrupted

BAD_INPUT, INTERRUPTED = 2, 130


class Commands(click.Group):
    """A group whose commands are imported only when used, so that ``--help`` answers at once."""

    # Name -> (module that defines ``command``, one line of help).
    TABLE: ClassVar[dict[str, tuple[str, str]]] = {
        "train": ("snrkit.cli.train", "Train a model with one estimator."),
        "sweep": ("snrkit.cli.sweep", "Train every run of a grid of settings, in slices if need be."),
        "evaluate": ("snrkit.cli.evaluate", "Bounds, KL, ESS and active units of a trained model."),
        "snr": ("snrkit.cli.snr", "Signal-to-noise ratio of the gradients of a trained model."),
        "reconstruct": ("snrkit.cli.reconstruct", "Reconstructions, with and without importance resampling."),
        "beta": ("snrkit.cli.beta", "SNR of the gradients against the beta of ciwae."),
        "advise": ("snrkit.cli.advise", "Which estimator, M and K to spend a budget of samples on."),
        "report": ("snrkit.cli.report", "Figures and tables from what was measured."),
        "data": ("snrkit.cli.data", "List, fetch and verify data sets."),
    }

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a reader of its output that went away (``snrkit ... | head``) is no error of ours."""
        try:
            value = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return None
        return value

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names in the order of use."""
        return list(self.TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in self.TABLE:
            return None
        command: click.Command = importlib.import_module(self.TABLE[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.TABLE.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="snrkit")
def program() -> None:
    """Gradient signal-to-noise diagnostics for multi-sample variational objectives."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program: exit 0 done, 2 bad input (one line), 130 interrupted, 1 anything else."""
    try:
        # Not standalone, click returns the code of an Exit; commands themselves return None.
        args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
        with unsealed() as without:
            code = program.main(args, prog_name="snrkit", standalone_mode=False)
        if without and "--quiet" not in args:
            first, count = next(iter(without)), len(without)
            which = first if count == 1 else f"{first} and {count - 1} more"
            click.echo(f"note: {which}: from before checksums were written, so damage would not be seen", err=True)
        if code:
            sys.exit(code)
    except Interrupted:
        click.echo("snrkit: interrupted; what is finished is saved, and the same command goes on from there", err=True)
        sys.exit(INTERRUPTED)
    except (click.Abort, KeyboardInterrupt):
        click.echo("snrkit: interrupted", err=True)
        sys.exit(INTERRUPTED)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "snrkit"
        click.echo(f"{command}: {error.format_message()} (see '{command} --help')", err=True)
        sys.exit(BAD_INPUT)
    except SnrkitError as error:
        click.echo(f"snrkit: {error}", err=True)
        sys.exit(BAD_INPUT)
