"""The ``snrkit`` program: finds a command by name and turns errors into exit codes."""

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import click

from snrkit.backend.shortage import shortage
from snrkit.backend.threads import wait_asleep
from snrkit.checksums import unsealed
from snrkit.cli.output import complain, drop, prepare_output, say, tell
from snrkit.cli.wording import error_in_flags
from snrkit.errors import BAD_INPUT, BUG, INTERRUPTED, NO_ROOM, SnrkitError, is_bad_path
from snrkit.interrupt import Interrupted, raising_signals
from snrkit.registry import hint


class Commands(click.Group):
    """A group whose commands are imported only when used, so that ``--help`` answers at once."""

    # Name -> (module that defines ``command``, one line of help).
    TABLE: ClassVar[dict[str, tuple[str, str]]] = {
        "train": ("snrkit.cli.train", "Train a model with one estimator."),
        "sweep": ("snrkit.cli.sweep", "Train every run of a grid of settings, in slices if need be."),
        "evaluate": ("snrkit.cli.evaluate", "Bounds, KL, ESS and active units of a trained model."),
        "snr": ("snrkit.cli.snr", "Signal-to-noise ratio of the gradients of a trained model."),
        "reconstruct": ("snrkit.cli.reconstruct", "Reconstructions, with and without importance resampling."),
        "sample": ("snrkit.cli.sample", "Samples of a model's prior, decoded."),
        "interpolate": ("snrkit.cli.interpolate", "What lies between two points of a model's latent space."),
        "canvases": ("snrkit.cli.canvases", "Images as a model of several steps writes them."),
        "beta": ("snrkit.cli.beta", "SNR of the gradients against the beta of ciwae."),
        "advise": ("snrkit.cli.advise", "Which estimator, M and K to spend a budget of samples on."),
        "runs": ("snrkit.cli.runs", "How many runs stand: state, settings, epoch, bound, SNR."),
        "collect": ("snrkit.cli.collect", "One table of the results of many runs, with their settings."),
        "report": ("snrkit.cli.report", "Figures and tables from what was measured."),
        "list": ("snrkit.cli.listing", "Estimators, models, data and metrics that there are."),
        "data": ("snrkit.cli.data", "List, fetch and verify data sets."),
    }

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name, command and the rest; what is no command is told what it may have been meant to be."""
        if args and args[0] not in self.TABLE and not args[0].startswith("-"):
            near = hint(args[0], self.TABLE)
            raise click.UsageError(f"no such command '{args[0]}'; {near}choose from {', '.join(self.TABLE)}", ctx)
        return super().resolve_command(ctx, args)

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
        """List the commands without importing them, and what the program exits with."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.TABLE.items()])
        with formatter.section("Exit codes"):
            formatter.write_dl(EXIT_CODES)


EXIT_CODES = [
    ("0", "done"),
    ("2", "bad input: an option, a file or its contents cannot be used"),
    ("3", "diverged: a bound, a gradient or a parameter became NaN or infinite"),
    (
        "4",
        "not now: disk full or not writable, memory too small, another process at work, or a run without a checkpoint yet",
    ),
    ("130", "interrupted by Ctrl-C or a signal; what is finished is saved"),
    ("1", "anything else, which is a fault in snrkit; of several runs also: they failed in several ways"),
]


def _show_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked:
        from snrkit.version import version

        tell(f"snrkit, version {version()}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def program() -> None:
    """Gradient signal-to-noise diagnostics for multi-sample variational objectives."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the program; it exits as ``EXIT_CODES`` says."""
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if not prepare_output():
        complain("snrkit: stdout: is closed, so no result could be shown; send it to a file or to /dev/null")
        sys.exit(NO_ROOM)
    wait_asleep()
    with raising_signals():
        code = _run(args)
    if code:
        sys.exit(code)


def _run(args: list[str]) -> int:  # noqa: PLR0911 (one per kind of end)
    """The exit code of a call; what went wrong is told in one line."""
    try:
        Path.cwd()
        # Not standalone, click returns the code of an Exit; commands themselves return None.
        with unsealed() as without:
            code = program.main(args, prog_name="snrkit", standalone_mode=False)
        if without and "--quiet" not in args:
            first, count = next(iter(without)), len(without)
            which = first if count == 1 else f"{first} and {count - 1} more"
            complain(f"note: {which}: from before checksums were written, so damage would not be seen")
    except Interrupted:
        complain("snrkit: interrupted; what is finished is saved, and the same command goes on from there")
        return INTERRUPTED
    except BrokenPipeError:  # a reader of the help that went away
        drop(sys.stdout)
        return 0
    except (click.Abort, KeyboardInterrupt):
        complain("snrkit: interrupted")
        return INTERRUPTED
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "snrkit"
        problem = " ".join(error.format_message().split())  # click lists choices on lines of their own
        complain(f"{command}: {problem} (see '{command} --help')")
        return BAD_INPUT
    except SnrkitError as error:
        complain(f"snrkit: {error_in_flags(error, called(args), args)}")
        return error.exit_code
    except Exception as error:
        return _unforeseen(error)
    return int(code or 0)


def called(args: Sequence[str]) -> click.Command:
    """The command that a command line calls."""
    command: click.Command = program
    for word in args:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word) or command
    return command


def _unforeseen(error: Exception) -> int:
    """What no part of the program has put in words: memory, the operating system, or a bug."""
    memory = shortage(error)
    if memory is not None:
        complain(f"snrkit: {memory}")
        return memory.exit_code
    if isinstance(error, OSError):
        where = error.filename or "a file, or the present folder"
        complain(f"snrkit: {where}: {error.strerror or error}; see to it, and run this again")
        return BAD_INPUT if is_bad_path(error) else NO_ROOM
    say("".join(traceback.format_exception(error)).rstrip("\n"))
    complain(f"snrkit: this is a fault in snrkit ({error.__class__.__name__}); please report it with what stands above")
    return BUG
